"""Progress of partitions without heartbeats: senders of ours tell how many records they had sent where by when."""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson

from opendt.models.messages import Partition
from opendt.stream.envelope import MAX_SEQUENCE, SENT, BadRecord
from opendt.stream.fields import MAX_TIME_MS
from opendt.windows.windower import Windower

_LONGEST = 1_000_000  # bytes


class Promises:
    """Advances the watermark of a partition when as many records of it were read as had been sent by then.

    Args:
        windower: whose watermark and sequence numbers.
        row_topic: topic of single fragments, which are sent when they end; None where there is none.
    """

    def __init__(self, windower: Windower, row_topic: str | None) -> None:
        self._windower, self._row_topic = windower, row_topic
        self._open: dict[tuple[str, Partition], deque[tuple[int, int]]] = {}
        self.made = False

    def note(self, replay: str, value: Any) -> None:
        """Note the header of a message. Raises ``BadRecord`` for one that cannot be read."""
        time_ms, counts = _parse(value)
        self.made = True
        for topic, sent in counts.items():
            for number, count in enumerate(sent):
                self._open.setdefault((replay, (topic, number)), deque()).append((count, time_ms))

    def keep(self) -> None:
        """Advance what has been read as far as was promised."""
        for (replay, partition), promises in self._open.items():
            read = self._windower.sequences.mark(replay, partition)[0] + 1
            time_ms = None
            while promises and promises[0][0] <= read:
                time_ms = promises.popleft()[1]
            if time_ms is not None:
                lag_ms = self._windower.longest_row_ms if partition[0] == self._row_topic else 0
                self._windower.heartbeat(partition, time_ms - lag_ms)


def _parse(value: Any) -> tuple[int, dict[str, list[int]]]:
    try:
        time_ms, counts = orjson.loads(value[:_LONGEST])
        plain = type(time_ms) is int and 0 <= time_ms <= MAX_TIME_MS
        whole = all(type(n) is int and 0 <= n <= MAX_SEQUENCE for sent in counts.values() for n in sent)
        if plain and whole:
            return time_ms, counts
    except (ValueError, TypeError, AttributeError):
        pass
    raise BadRecord(f"header {SENT} is {str(value)[:60]}, must be a time and counts by topic")
