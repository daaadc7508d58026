"""What the layouts share on the sending side: a plan of events in the order in which they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from opendt.models.messages import Partition
from opendt.settings import StreamSettings
from opendt.stream.schedule import Events, Message, Replayable
from opendt.stream.topics import data_topics


class Telling:
    """Picks the first message of each interval of event time: it tells how far its sequence has come.

    The older layouts have no heartbeats, or not for every partition. And a producer hands a broker what it sends
    partition by partition: a record that was read from one says nothing about older ones in another, unless it says so.

    Args:
        topics: those of the sequence.
        every_ms: length of the interval [ms].
    """

    def __init__(self, topics: tuple[str, ...], every_ms: int) -> None:
        self._topics, self._every_ms, self._next_ms = topics, every_ms, -1

    def __call__(self, time_ms: int) -> tuple[str, ...] | None:
        """What a message of this event time is to tell, given in order of time."""
        if time_ms < self._next_ms:
            return None
        self._next_ms = time_ms - time_ms % self._every_ms + self._every_ms
        return self._topics


class PlannedLayout:
    """A trace as messages. Same trace, datacenter and partitions, same messages, byte for byte.

    Args:
        trace: what to send.
        settings: topics, chunk size, heartbeat interval.
        datacenter: identifier of the datacenter.
        partitions: number of partitions of each topic.
    """

    _events: Events

    def __init__(
        self, trace: Replayable, settings: StreamSettings, datacenter: str, partitions: Mapping[str, int]
    ) -> None:
        self._trace, self._settings, self._datacenter = trace, settings, datacenter
        self._partitions = partitions

    def __len__(self) -> int:
        """Messages, end markers not counted."""
        return len(self._events)

    @property
    def begin_ms(self) -> int:
        """Event time of the first message."""
        return int(self._events.time_ms[0]) if len(self._events) else 0

    @property
    def end_ms(self) -> int:
        """Event time of the last message."""
        return int(self._events.time_ms[-1]) if len(self._events) else 0

    @property
    def partitions(self) -> list[Partition]:
        """Partitions whose records carry event time."""
        return [(topic, p) for topic in data_topics(self._settings) for p in range(self._partitions[topic])]

    def _telling(self, *topics: str) -> Telling:
        return Telling(topics, round(self._settings.heartbeat_s * 1000))

    @property
    def _power_times(self) -> np.ndarray:
        power = self._trace.power
        return np.zeros(0, np.int64) if power is None else power.timestamp_ms

    def lanes(self) -> list[Iterator[Message]]:
        """Sequences of messages, each in event-time order; several are sent side by side from one barrier."""
        raise NotImplementedError

    def ends(self, replay_id: str, counts: Mapping[Partition, tuple[int, int]]) -> list[Message]:
        """End markers, given (records, checksum) sent per partition."""
        raise NotImplementedError
