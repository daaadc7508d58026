"""Progress of topics whose heartbeats do not reach every partition, as the older systems' do not.

Their producer sends in order of event time over all partitions of a topic. So when a record of time T has been read
from one partition, what the others hold shortly after is all there is before T: once reading has passed their ends as
they were then, they have come to T as well. Shortly after, and not at once, because a client of Kafka hands records
over partition by partition. Replays of ours need no such guess, see ``promises.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from opendt.models.messages import Partition
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.windows.watermark import Watermark

_EVERY_S = 0.05
GRACE_S = 1.0  # for records sent earlier to come into another partition


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
        self._seen: dict[str, deque[tuple[float, int]]] = {topic: deque() for topic in self._topics}
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
            newest = self._settled(topic, max(_time(watermark, where) for where in partitions), now_s)
            if newest <= self._known.get(topic, -1):
                continue
            self._known[topic] = newest
            for where in partitions:
                if where not in self._ends and _time(watermark, where) < newest:
                    self._ends[where] = (kafka.watermarks(client, *where, self._settings)[1], newest)

    def _settled(self, topic: str, newest: int, now_s: float) -> int:
        """The newest time that was known ``GRACE_S`` ago, -1 for none."""
        seen = self._seen[topic]
        settled = self._known.get(topic, -1)
        if newest > (seen[-1][1] if seen else settled):
            seen.append((now_s, newest))
        while seen and seen[0][0] <= now_s - GRACE_S:
            settled = seen.popleft()[1]
        return settled


def _time(watermark: Watermark, where: Partition) -> int:
    time_ms = watermark.of(where)
    return -1 if time_ms is None else time_ms
