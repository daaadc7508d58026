"""Records in, window batches out: assignment by event time, late records, the position to commit."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby, pairwise
from zlib import crc32

from opendt.models.messages import (
    PAYLOAD_KEPT_BYTES,
    DeadLetter,
    EndOfStream,
    FragmentChunk,
    FragmentRow,
    Heartbeat,
    LateRecord,
    Partition,
    PowerReading,
    Record,
    StreamPosition,
    TaskHead,
    TopologyChange,
)
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.settings import WindowSettings
from opendt.units import iso
from opendt.windows.assembly import Rows, estimate_fragments, fragments_of, join_rows, power_of, tasks_of
from opendt.windows.batch import WindowBatch
from opendt.windows.buffer import Buffer, Incoming, incoming_of
from opendt.windows.completeness import OpenTasks
from opendt.windows.ledger import NEVER, Ledger
from opendt.windows.sequences import Sequences
from opendt.windows.watermark import Watermark

_KINDS = {TaskHead: "task", FragmentChunk: "fragments", FragmentRow: "fragments", PowerReading: "power"}


class Windower:
    """Sorts records into half-open event-time windows and closes them as the watermark passes their end.

    Windows are aligned to multiples of their length since the epoch; the first is that of the earliest record, and from
    there on every window is handed out, empty ones included.

    Args:
        partitions: partitions whose records carry event time; the watermark is the minimum over them.
        others: further partitions that are read (topologies).
        settings: length, lateness, policy.
        cluster: identifier of the Kafka cluster, kept in positions.
        position: where to go on, None for a start from the beginning.
        first_index: number of the first window handed out.
        longest_row_ms: for layouts that send single fragments when they end: how long one may be. Their watermark
            stays that far behind, or as far as the longest one seen.
    """

    def __init__(
        self,
        partitions: Iterable[Partition],
        others: Iterable[Partition],
        settings: WindowSettings,
        cluster: str,
        position: StreamPosition | None = None,
        first_index: int = 0,
        longest_row_ms: int = 0,
    ) -> None:
        partitions = list(partitions)
        self.longest_row_ms = longest_row_ms
        self._length_ms = settings.length_s * 1000
        self._lateness_ms = round(settings.allowed_lateness_s * 1000)
        self._jump_ms = round(settings.longest_jump_h * 3_600_000)
        self._policy, self._cluster = settings.late_policy, cluster
        self._open_ms = position.closed_until_ms if position else None
        self._newest_ms = self._open_ms
        self._index = first_index
        self.watermark = Watermark(partitions, self._open_ms)
        same = position if position and position.cluster == cluster else None
        self.ledger = Ledger([*partitions, *others], same)
        self.sequences = Sequences(position.sequences if position else None)
        self._tasks = OpenTasks(position.open_tasks if position else None)
        self._buffers: dict[int, Buffer] = {}
        self._topologies: list[tuple[int, TopologyChange]] = []
        self._late: list[LateRecord] = []
        self._dead: list[DeadLetter] = []
        self._duplicates = self._ignored = 0
        self.finished = bool(position and position.ended)

    def add(self, incoming: Incoming) -> None:
        """A record that was understood and is neither a duplicate nor another replay's."""
        record = incoming.records[0]
        if isinstance(record, EndOfStream):
            self.watermark.end(incoming.partition)
            self._hold(incoming, NEVER)
        elif not self._believable(incoming, record):
            return
        elif isinstance(record, (FragmentChunk, PowerReading, TaskHead)):
            self._add_data(incoming, record)
        elif isinstance(record, Heartbeat):
            self.watermark.advance(incoming.partition, record.time_ms)
        elif isinstance(record, TopologyChange):
            self._add_topology(incoming, record)
        else:
            self._add_row(incoming, record)

    def heartbeat(self, partition: Partition, time_ms: int) -> bool:
        """Note a heartbeat without further ado; False where it has to go through ``add``, to be refused there."""
        newest_ms = self._newest_ms
        if newest_ms is None or time_ms > newest_ms + self._jump_ms:
            return False
        if time_ms > newest_ms:
            self._newest_ms = time_ms
        self.watermark.advance(partition, time_ms)
        return True

    def _believable(self, incoming: Incoming, record: Record) -> bool:
        """Whether the record's time is not absurdly far ahead: one forged time would close every window before it."""
        time_ms = record.time_ms
        if time_ms is None:
            return True
        if isinstance(record, FragmentRow):
            time_ms += record.duration_ms
        newest_ms = self._newest_ms
        if newest_ms is None or time_ms > newest_ms:
            if newest_ms is not None and time_ms > newest_ms + self._jump_ms:
                ahead_h = (time_ms - newest_ms) / 3_600_000
                reason = f"event time {iso(time_ms)} is {ahead_h:,.0f} h after the newest record: a clock gone wrong"
                self.reject(incoming, reason)
                return False
            self._newest_ms = time_ms
        return True

    def _add_row(self, incoming: Incoming, row: FragmentRow) -> None:
        """One fragment. Its sender sends it when it ends, so that others may still come that began before it ended."""
        time_ms, duration_ms = row.time_ms, row.duration_ms
        window_ms = time_ms - time_ms % self._length_ms
        if self._open_ms is not None and window_ms < self._open_ms:
            if not self._late_record(incoming, row):
                return
            window_ms = self._open_ms
        self.longest_row_ms = max(self.longest_row_ms, duration_ms)
        self.watermark.advance(incoming.partition, time_ms + duration_ms - self.longest_row_ms)
        self._hold(incoming, window_ms)
        rows = self._buffers.setdefault(window_ms, Buffer()).rows_of(incoming.partition)
        rows.append(*row, incoming.offset, incoming.value)

    def add_rows(self, replay: str, rows: Rows, before: tuple[int, int]) -> tuple[int, int]:
        """Many fragments of one partition in sequence, given their replay's mark before the first.

        The same as ``add`` for each of them, faster. Gives the mark after the last.
        """
        newest_ms = max(map(operator.add, rows.begin_ms, rows.duration_ms))
        if self._newest_ms is None or newest_ms > self._newest_ms + self._jump_ms:
            return self._add_singly(replay, rows, before)
        self._newest_ms = max(self._newest_ms, newest_ms)
        partition, start = rows.partition, 0
        for window_ms, group in groupby([time_ms - time_ms % self._length_ms for time_ms in rows.begin_ms]):
            run = rows.part(start, start := start + sum(1 for _ in group))
            if self._open_ms is not None and window_ms < self._open_ms:
                before = self._add_singly(replay, run, before)
                continue
            buffer = self._buffers.setdefault(window_ms, Buffer())
            buffer.rows.append(run)
            joined = b"".join(run.value)
            self.ledger.hold(partition, run.offset[0], window_ms, replay, before, len(joined), run.offset[-1] + 1)
            before = before[0] + len(run), crc32(joined, before[1])
        self.longest_row_ms = max(self.longest_row_ms, max(rows.duration_ms))
        self.watermark.advance(partition, newest_ms - self.longest_row_ms)
        return before

    def _add_singly(self, replay: str, rows: Rows, before: tuple[int, int]) -> tuple[int, int]:
        for place in range(len(rows)):
            begin_ms, task_id, duration_ms, usage, partition, offset, value = rows.row(place)
            row = FragmentRow(begin_ms, task_id, duration_ms, usage)
            self.add(Incoming(partition, offset, replay, before, (row,), value))
            before = before[0] + 1, crc32(value, before[1])
        return before

    def reject(self, incoming: Incoming, reason: str) -> None:
        """A record that was not understood."""
        value = incoming.value
        topic, partition = incoming.partition
        kept = value[:PAYLOAD_KEPT_BYTES]
        self._dead.append(DeadLetter(topic, partition, incoming.offset, reason, kept, len(value)))
        self.ledger.dealt_with(incoming.partition, incoming.offset)

    def duplicate(self, partition: Partition, offset: int) -> None:
        """A record that had been seen."""
        self._duplicates += 1
        self.ledger.dealt_with(partition, offset)

    def ignore(self) -> None:
        """A record of another replay or datacenter."""
        self._ignored += 1

    def _add_data(self, incoming: Incoming, record: TaskHead | FragmentChunk | PowerReading) -> None:
        time_ms = record.time_ms
        window_ms = time_ms - time_ms % self._length_ms
        if self._open_ms is not None and window_ms < self._open_ms:
            if not self._late_record(incoming, record):
                return
            window_ms = self._open_ms
        else:
            self.watermark.advance(incoming.partition, time_ms)
        self._hold(incoming, window_ms)
        self._store(incoming, self._buffers.setdefault(window_ms, Buffer()), window_ms)

    def _late_record(self, incoming: Incoming, record: TaskHead | FragmentChunk | FragmentRow | PowerReading) -> bool:
        """Note a late record; whether it is to be handed out all the same."""
        (topic, partition), kept = incoming.partition, incoming.value[:PAYLOAD_KEPT_BYTES]
        kind = _KINDS[type(record)]
        self._late.append(LateRecord(topic, partition, incoming.offset, record.time_ms, kind, self._policy, kept))
        if self._policy == "drop":
            self.ledger.dealt_with(incoming.partition, incoming.offset)
        return self._policy == "reopen"

    def _store(self, incoming: Incoming, buffer: Buffer, window_ms: int) -> None:
        for record in incoming.records:
            if isinstance(record, FragmentChunk):
                buffer.chunks.append((record.time_ms, record.task_id, record.first, record, (incoming,)))
            elif isinstance(record, PowerReading):
                buffer.power.append((record.time_ms, record.power_w, incoming))
            elif isinstance(record, TaskHead):
                if record.submission_ms < window_ms:  # reopened: the engine cannot submit in the past
                    record = replace(record, submission_ms=window_ms)
                place = (record.submission_ms, record.order, incoming.partition, incoming.offset)
                buffer.heads.append((*place, record, incoming))

    def _add_topology(self, incoming: Incoming, change: TopologyChange) -> None:
        """Its window is that of its time, or the one now open if that is later or it has no time."""
        window_ms = -1 if change.time_ms is None else change.time_ms - change.time_ms % self._length_ms
        self._topologies.append((window_ms, change))
        self._hold(incoming, window_ms)

    def _hold(self, incoming: Incoming, window_ms: int) -> None:
        size = len(incoming.value)
        self.ledger.hold(incoming.partition, incoming.offset, window_ms, incoming.replay, incoming.before, size)

    @property
    def needed_until_ms(self) -> int | None:
        """Event time that records must have come to for the next window to close; None before there is one."""
        open_ms = self._open_ms if self._open_ms is not None else min(self._buffers, default=None)
        return None if open_ms is None else open_ms + self._length_ms + self._lateness_ms + self.longest_row_ms

    def next_batch(self) -> WindowBatch | None:
        """The next window that is closed, or None while none is (or ``finished``)."""
        open_ms = self._open_ms if self._open_ms is not None else min(self._buffers, default=None)
        ended = self.watermark.ended
        if self.finished or open_ms is None:
            self.finished = self.finished or ended
            return None
        if self._open_ms is None and self._drop_outliers():
            return self.next_batch()
        time_ms = self.watermark.time_ms
        if not ended and (time_ms is None or time_ms - self._lateness_ms < open_ms + self._length_ms):
            return None
        return self._close(open_ms, last=ended and all(window <= open_ms for window in self._buffers))

    def _drop_outliers(self) -> bool:
        """Before the first window: where records lie absurdly far apart, the fewer of them are dead letters."""
        windows = sorted(self._buffers)
        for at, (left, right) in enumerate(pairwise(windows), 1):
            if right - left > self._jump_ms:
                early, late = windows[:at], windows[at:]
                size = {w: self._buffers[w].size for w in windows}
                wrong = early if sum(size[w] for w in early) <= sum(size[w] for w in late) else late
                for window_ms in wrong:
                    for origin in self._buffers.pop(window_ms).origins():
                        self.reject(incoming_of(origin), "event time is absurdly far from that of the other records")
                    self.ledger.discard(window_ms)
                return True
        return False

    def _close(self, start_ms: int, *, last: bool) -> WindowBatch:
        end_ms = start_ms + self._length_ms
        buffer = self._buffers.pop(start_ms, None) or Buffer()
        workload = self._workload(buffer, end_ms, last=last)
        self._open_ms = end_ms
        self.finished = last
        self.ledger.release(start_ms)
        batch = WindowBatch(
            index=self._index,
            start_ms=start_ms,
            end_ms=end_ms,
            workload=workload,
            power=power_of(buffer.power),
            topology=self._take_topology(start_ms),
            position=self._position(last=last),
            late=self._late,
            dead=self._dead + self._tasks.dead,
            duplicates=self._duplicates,
            ignored=self._ignored,
            filled_fragments=self._tasks.filled,
            last=last,
        )
        self._index += 1
        self._late, self._dead, self._tasks.dead = [], [], []
        self._duplicates = self._ignored = self._tasks.filled = 0
        return batch

    def _workload(self, buffer: Buffer, end_ms: int, *, last: bool) -> Workload:
        joined = join_rows(buffer.rows)
        buffer.chunks += [(chunk.time_ms, chunk.task_id, -1, chunk, rows) for chunk, rows in joined]
        buffer.heads.sort(key=operator.itemgetter(0, 1, 2, 3))
        for _, _, (topic, partition), offset, head, _ in buffer.heads:
            if head.fragment_count < 0:
                estimate_fragments(head, [chunk for chunk, _ in joined])
            self._tasks.announce(head, topic, partition, offset)
        buffer.chunks.sort(key=operator.itemgetter(0, 1, 2))
        chunks: list[FragmentChunk] = []
        for _, _, _, chunk, origins in buffer.chunks:
            pieces, reason = self._tasks.take(chunk)
            chunks += pieces
            if reason:
                for origin in origins:
                    self.reject(incoming_of(origin), reason)
        chunks += self._tasks.close(end_ms, last=last)
        return Workload(tasks_of([row[4] for row in buffer.heads]), fragments_of(chunks))

    def _take_topology(self, window_ms: int) -> Topology | None:
        due = [change for at, change in self._topologies if at <= window_ms]
        self._topologies = [(at, change) for at, change in self._topologies if at > window_ms]
        due.sort(key=lambda change: NEVER if change.time_ms is None else change.time_ms)
        return due[-1].topology if due else None

    def _position(self, *, last: bool) -> StreamPosition:
        return StreamPosition(
            cluster=self._cluster,
            offsets=self.ledger.offsets(),
            sequences=self.ledger.marks(self.sequences.marks()),
            early=self.ledger.early(),
            closed_until_ms=self._open_ms,
            open_tasks=self._tasks.snapshot(),
            ended=last,
        )
