"""The watermark: how far event time has come in every partition."""

from __future__ import annotations

from collections.abc import Iterable

from opendt.models.messages import Partition


class Watermark:
    """Minimum over partitions of the newest event time promised in each; an ended partition promises everything.

    Args:
        partitions: the partitions that count.
        start_ms: a time all of them are known to have passed, None where nothing is known.
    """

    def __init__(self, partitions: Iterable[Partition], start_ms: int | None = None) -> None:
        self._times: dict[Partition, int | None] = dict.fromkeys(partitions, start_ms)
        self._ended: set[Partition] = set()

    def advance(self, partition: Partition, time_ms: int) -> None:
        """A record of this event time was read: nothing older should follow.

        Going backwards has no effect, and neither have partitions that do not count.
        """
        known = self._times.get(partition, time_ms)
        if known is None or time_ms > known:
            self._times[partition] = time_ms

    def end(self, partition: Partition) -> None:
        """Nothing more follows in this partition."""
        if partition in self._times:
            self._ended.add(partition)

    def end_all(self) -> None:
        """Nothing more follows anywhere."""
        self._ended.update(self._times)

    def of(self, partition: Partition) -> int | None:
        """The partition's own watermark, None before its first record."""
        return self._times.get(partition)

    @property
    def ended(self) -> bool:
        """Whether every partition has ended."""
        return len(self._ended) == len(self._times)

    @property
    def time_ms(self) -> int | None:
        """Event time that every partition still running has passed; None while one is unknown or all have ended."""
        low: int | None = None
        for partition, time_ms in self._times.items():
            if partition in self._ended:
                continue
            if time_ms is None:
                return None
            if low is None or time_ms < low:
                low = time_ms
        return low
