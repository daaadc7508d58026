"""Which records have been handed out in a window, so that reading can go on exactly there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opendt.models.messages import Partition, SequenceMark, StreamPosition

RECORD_BYTES = 600  # what a waiting record takes in memory beside its value
NEVER = 2**62  # window of a record that is never handed out: the end marker


@dataclass(slots=True)
class _Run:
    """Records read one after another for the same window: offsets [offset, until), all of one replay.

    ``last`` and ``checksum`` are the replay's mark just before the first of them.
    """

    offset: int
    until: int
    window_ms: int
    replay: str | None
    last: int
    checksum: int
    size: int  # of them in memory [B]


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
        self._waiting: dict[Partition, deque[_Run]] = {p: deque() for p in names}
        self._early: dict[Partition, set[int]] = {p: set(early.get(p, ())) for p in names}
        self._disordered: set[Partition] = set()
        self.waiting_bytes = 0

    def begin(self, offsets: Mapping[Partition, int]) -> None:
        """Reading starts at these offsets."""
        self._next.update(offsets)

    def is_early(self, partition: Partition, offset: int) -> bool:
        """Whether a record was dealt with before the reader was restarted."""
        early = self._early[partition]
        return bool(early) and offset in early

    def has_early(self, partition: Partition) -> bool:
        """Whether any record of the partition was dealt with before its turn."""
        return bool(self._early[partition])

    def read(self, partition: Partition, offset: int) -> None:
        """A record was read."""
        self._next[partition] = offset + 1

    def hold(
        self,
        partition: Partition,
        offset: int,
        window_ms: int,
        replay: str | None,
        before: tuple[int, int],
        size: int,
        until: int | None = None,
    ) -> None:
        """A record, or all up to ``until``, wait for their window; ``before`` is their replay's mark just before."""
        until = offset + 1 if until is None else until
        waiting = self._waiting[partition]
        size += RECORD_BYTES * (until - offset)
        self.waiting_bytes += size
        if waiting:
            run = waiting[-1]
            if run.window_ms == window_ms and run.replay == replay:
                run.until = until
                run.size += size
                return
            if window_ms < run.window_ms:
                self._disordered.add(partition)
        waiting.append(_Run(offset, until, window_ms, replay, before[0], before[1], size))

    def dealt_with(self, partition: Partition, offset: int) -> None:
        """A record needs no window (late, dead, duplicate) and must not be counted again."""
        if self._waiting[partition]:
            self._early[partition].add(offset)

    def discard(self, window_ms: int) -> None:
        """This window will never be handed out; its records were dealt with otherwise."""
        for partition, waiting in self._waiting.items():
            for run in waiting:
                if run.window_ms == window_ms:
                    run.window_ms = -NEVER
                    self._disordered.add(partition)

    def release(self, window_ms: int) -> None:
        """The window that starts at ``window_ms``, and all before it, were handed out."""
        for partition, waiting in self._waiting.items():
            if partition in self._disordered:
                self._release_disordered(partition, window_ms)
            else:
                while waiting and waiting[0].window_ms <= window_ms:
                    self.waiting_bytes -= waiting.popleft().size

    def _release_disordered(self, partition: Partition, window_ms: int) -> None:
        waiting = self._waiting[partition]
        kept = deque(run for run in waiting if run.window_ms > window_ms)
        gone = [run for run in waiting if run.window_ms <= window_ms]
        self.waiting_bytes -= sum(run.size for run in gone)
        if kept:
            first = kept[0].offset
            for run in gone:
                self._early[partition].update(o for o in range(run.offset, run.until) if o > first)
        self._waiting[partition] = kept
        windows = [run.window_ms for run in kept]
        if windows == sorted(windows):
            self._disordered.discard(partition)

    def offsets(self) -> dict[Partition, int]:
        """Next offset to read, for going on after a restart."""
        return {p: w[0].offset if (w := self._waiting[p]) else n for p, n in self._next.items()}

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
        replays: dict[Partition, set[str | None]] = {}
        for replay, partition in known:
            replays.setdefault(partition, set()).add(replay)
        for partition, waiting in self._waiting.items():
            left = replays.get(partition, set())
            for run in waiting:
                if not left:
                    break
                if run.replay in left and run.replay is not None:
                    left.discard(run.replay)
                    marks[run.replay, partition] = (run.last, run.checksum)
        return {(r, t, p): SequenceMark(*mark) for (r, (t, p)), mark in marks.items()}
