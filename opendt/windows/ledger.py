"""Which records have been handed out in a window, so that reading can go on exactly there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from opendt.models.messages import Partition, SequenceMark, StreamPosition

NEVER = 2**62  # window of a record that is never handed out: the end marker


class Pending(NamedTuple):
    """A record read but not handed out: its window's start, and its replay's mark just before it."""

    offset: int
    window_ms: int
    replay: str | None
    last: int
    checksum: int


class Ledger:
    """Per partition, the records waiting for their window to close.

    The committed offset of a partition is that of its first waiting record. Records behind it that were dealt with
    already (handed out, late, dead) are listed as early, so that a reader that goes on there skips them.
    """

    def __init__(self, partitions: Iterable[Partition], position: StreamPosition | None = None) -> None:
        offsets = position.offsets if position else {}
        early = position.early if position else {}
        names = list(partitions)
        self._next: dict[Partition, int] = {p: offsets.get(p, 0) for p in names}
        self._pending: dict[Partition, deque[Pending]] = {p: deque() for p in names}
        self._early: dict[Partition, set[int]] = {p: set(early.get(p, ())) for p in names}
        self._disordered: set[Partition] = set()

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """Reading starts at these offsets."""
        self._next.update(offsets)

    def is_early(self, partition: Partition, offset: int) -> bool:
        """Whether a record was dealt with before the reader was restarted."""
        early = self._early[partition]
        return bool(early) and offset in early

    def read(self, partition: Partition, offset: int) -> None:
        """A record was read."""
        self._next[partition] = offset + 1

    def hold(self, partition: Partition, pending: Pending) -> None:
        """A record waits for its window."""
        waiting = self._pending[partition]
        if waiting and pending.window_ms < waiting[-1].window_ms:
            self._disordered.add(partition)
        waiting.append(pending)

    def dealt_with(self, partition: Partition, offset: int) -> None:
        """A record needs no window (late, dead, duplicate) and must not be counted again."""
        if self._pending[partition]:
            self._early[partition].add(offset)

    def release(self, window_ms: int) -> None:
        """The window that starts at ``window_ms``, and all before it, were handed out."""
        for partition, waiting in self._pending.items():
            if partition in self._disordered:
                self._release_disordered(partition, window_ms)
            else:
                while waiting and waiting[0].window_ms <= window_ms:
                    waiting.popleft()

    def _release_disordered(self, partition: Partition, window_ms: int) -> None:
        waiting = self._pending[partition]
        kept = deque(p for p in waiting if p.window_ms > window_ms)
        if kept:
            first = kept[0].offset
            self._early[partition].update(p.offset for p in waiting if p.window_ms <= window_ms and p.offset > first)
        self._pending[partition] = kept
        windows = [p.window_ms for p in kept]
        if windows == sorted(windows):
            self._disordered.discard(partition)

    def waiting(self) -> int:
        """Number of records waiting for their window."""
        return sum(len(w) for w in self._pending.values())

    def offsets(self) -> dict[Partition, int]:
        """Next offset to read, for going on after a restart."""
        return {p: w[0].offset if (w := self._pending[p]) else n for p, n in self._next.items()}

    def progress(self) -> dict[Partition, int]:
        """Next offset to read in this process: how far reading, not handing out, has come."""
        return dict(self._next)

    def early(self) -> dict[Partition, tuple[int, ...]]:
        """Offsets above ``offsets`` that were dealt with; forgets the ones below."""
        low = self.offsets()
        for partition, offsets in self._early.items():
            if offsets:
                self._early[partition] = {o for o in offsets if o > low[partition]}
        return {p: tuple(sorted(o)) for p, o in self._early.items() if o}

    def marks(self, known: Mapping[tuple[str, Partition], tuple[int, int]]) -> dict[tuple[str, str, int], SequenceMark]:
        """Sequence marks that belong to ``offsets``: those before the first waiting record of each replay."""
        marks = dict(known)
        for partition, waiting in self._pending.items():
            replays = {replay for replay, p in known if p == partition}
            for pending in waiting:
                if not replays:
                    break
                if pending.replay in replays:
                    replays.discard(pending.replay)
                    marks[pending.replay, partition] = (pending.last, pending.checksum)
        return {(r, t, p): SequenceMark(*mark) for (r, (t, p)), mark in marks.items()}
