"""Progress of topics whose heartbeats do not reach every partition, as the older systems' do not.

Their producer sends in order of event time over all partitions of a topic. So when a record of time T has been read
from one partition, what the others hold at that moment is all there is before T: once reading has passed their ends as
they were then, they have come to T as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opendt.models.messages import Partition
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.windows.watermark import Watermark

_EVERY_S = 0.05


class OrderedTopics:
    """Advances the watermark of a topic's quiet partitions.

    Args:
        partitions: the partitions of the topics concerned.
        settings: where the broker is.
    """

    def __init__(self, partitions: Sequence[Partition], settings: StreamSettings) -> None:
        self._settings = settings
        self._topics: dict[str, list[Partition]] = {}
        for where in partitions:
            self._topics.setdefault(where[0], []).append(where)
        self._known: dict[str, int] = {}
        self._ends: dict[Partition, tuple[int, int]] = {}
        self._next_s = 0.0

    def update(self, client: Any, watermark: Watermark, read: Mapping[Partition, int], now_s: float) -> None:
        """Look at what has been read; ask for the ends of quiet partitions from time to time."""
        for where, (end, time_ms) in list(self._ends.items()):
            if read[where] >= end:
                watermark.advance(where, time_ms)
                del self._ends[where]
        if now_s < self._next_s:
            return
        self._next_s = now_s + _EVERY_S
        for topic, partitions in self._topics.items():
            newest = max(_time(watermark, where) for where in partitions)
            if newest <= self._known.get(topic, -1):
                continue
            self._known[topic] = newest
            for where in partitions:
                if where not in self._ends and _time(watermark, where) < newest:
                    self._ends[where] = (kafka.watermarks(client, *where, self._settings)[1], newest)


def _time(watermark: Watermark, where: Partition) -> int:
    time_ms = watermark.of(where)
    return -1 if time_ms is None else time_ms
