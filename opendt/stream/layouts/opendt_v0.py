"""Layout ``opendt-v0``: what the first OpenDT writes and reads (atlarge-research/OpenDT 54411db, v0.1).

Topic ``tasks`` has one message per task, ``fragments`` one per fragment, both with the key ``{"id": n}``. A fragment's
``submission_time`` is synthesised: its task's submission plus the durations up to and including its own, so it is the
time at which the fragment ends. Two producers send side by side, released by one barrier, each in order of time; the
original sleeps 0.1 s per trace second, which is speed 10. There are no heartbeats and no end; the original reads
neither ``dc.power`` nor headers, so power, the end of the stream and sequence numbers travel there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json as pa_json

from opendt.models.messages import MAX_FRAGMENTS, FragmentRow, Partition, Record, TaskHead
from opendt.settings import StreamSettings
from opendt.stream import codec
from opendt.stream.envelope import FRAGMENTS as FRAGMENTS_HEADER
from opendt.stream.envelope import ORDER, BadRecord, Envelope
from opendt.stream.fields import MAX_COUNT, MAX_DURATION_MS, MAX_NUMBER, MAX_TIME_MS, integer, number, parse_object
from opendt.stream.layouts import iso_times
from opendt.stream.layouts.opendt_v1 import json_numbers, read_id, read_order
from opendt.stream.layouts.planned import PlannedLayout
from opendt.stream.schedule import (
    FRAGMENTS,
    POWER,
    TASK,
    TOPOLOGY,
    Events,
    Message,
    Replayable,
    begin_times,
    events,
    grouped,
    merge,
)
from opendt.stream.topics import partition_of

_SLICE = 50_000  # fragments printed at a time
_BRACE = ord("{")
_FRAGMENT = pa.schema([("submission_time", pa.timestamp("ms")), ("duration", pa.int64()), ("cpu_usage", pa.float64())])
_PARSE = pa_json.ParseOptions(explicit_schema=_FRAGMENT, unexpected_field_behavior="ignore")

Columns = tuple[list[int], list[int], list[int], list[float]]


class V0Layout(PlannedLayout):
    """A trace as the first version's messages: two sequences, tasks (with power and topology) and fragments."""

    def __init__(
        self, trace: Replayable, settings: StreamSettings, datacenter: str, partitions: Mapping[str, int]
    ) -> None:
        super().__init__(trace, settings, datacenter, partitions)
        tasks = trace.workload.tasks
        self._numbers = tasks.task_id.tolist()
        self._keys = [orjson.dumps({"id": number}) for number in self._numbers]
        self._fragments, self._rows = grouped(tasks, trace.workload.fragments)
        ends_ms = begin_times(tasks, self._fragments, self._rows) + self._fragments.duration_ms
        names = settings.topics
        owner = np.array([partition_of(k, partitions[names.v0_fragments]) for k in self._keys], np.int32)
        self._fragment_events = merge([events(FRAGMENTS, ends_ms, owner[self._rows])])
        self._others = self._plan_others()
        self._events = merge([self._fragment_events, self._others])

    def _plan_others(self) -> Events:
        tasks, names = self._trace.workload.tasks, self._settings.topics
        of_task = np.array([partition_of(k, self._partitions[names.v0_tasks]) for k in self._keys], np.int32)
        power_ms = self._power_times
        own = partition_of(self._datacenter.encode(), self._partitions[names.power])
        parts = [
            events(TASK, tasks.submission_ms, of_task),
            events(POWER, power_ms, np.full(len(power_ms), own, np.int32)),
        ]
        if self._trace.topology is not None and len(tasks):
            parts.append(events(TOPOLOGY, np.array([int(tasks.submission_ms.min())]), np.zeros(1, np.int32)))
        return merge(parts)

    def lanes(self) -> list[Iterator[Message]]:
        """Two sequences, released together by the sender."""
        return [self._other_messages(), self._fragment_messages()]

    def _other_messages(self) -> Iterator[Message]:
        plan, names, own = self._others, self._settings.topics, self._datacenter.encode()
        rows = zip(plan.time_ms.tolist(), plan.kind.tolist(), plan.index.tolist(), plan.partition.tolist(), strict=True)
        telling = self._telling(names.v0_tasks, names.power)
        for time_ms, kind, index, partition in rows:
            if kind == TASK:
                value, extra = self._task(index, time_ms)
                yield Message(time_ms, names.v0_tasks, partition, self._keys[index], value, extra, telling(time_ms))
            elif kind == POWER and self._trace.power is not None:
                value = codec.encode_power(time_ms, float(self._trace.power.power_w[index]))
                yield Message(time_ms, names.power, partition, own, value, None, telling(time_ms))
            elif kind == TOPOLOGY and self._trace.topology is not None:
                value = codec.encode_topology(time_ms, self._trace.topology, "trace")
                yield Message(time_ms, names.topology, partition, own, value)

    def _task(self, index: int, time_ms: int) -> tuple[bytes, list[tuple[str, bytes]]]:
        tasks = self._trace.workload.tasks
        value = {
            "submission_time": iso_times.naive(time_ms),
            "duration": int(tasks.duration_ms[index]),
            "cpu_count": int(tasks.cpu_count[index]),
            "cpu_capacity": float(tasks.cpu_capacity_mhz[index]),
            "mem_capacity": int(tasks.mem_capacity[index]),
        }
        count = b"%d%s" % (tasks.fragment_count[index], b"+" if tasks.has_cpu_usage[index] else b"")
        return orjson.dumps(value), [(ORDER, b"%d" % index), (FRAGMENTS_HEADER, count)]

    def _fragment_messages(self) -> Iterator[Message]:
        plan, topic = self._fragment_events, self._settings.topics.v0_fragments
        telling = self._telling(topic)
        for start in range(0, len(plan), _SLICE):
            part = slice(start, start + _SLICE)
            index = plan.index[part]
            columns = zip(
                plan.time_ms[part].tolist(),
                plan.partition[part].tolist(),
                self._rows[index].tolist(),
                json_numbers(self._fragments.duration_ms[index]),
                json_numbers(self._fragments.cpu_usage_mhz[index]),
                strict=True,
            )
            last_ms, rest = -1, b""
            for time_ms, partition, row, duration, usage in columns:
                tells = None
                if time_ms != last_ms:
                    last_ms, rest = time_ms, b',"submission_time":"%s"}' % iso_times.naive(time_ms).encode()
                    tells = telling(time_ms)
                value = b'{"duration":' + duration + b',"cpu_usage":' + usage + rest
                yield Message(time_ms, topic, partition, self._keys[row], value, None, tells)

    def ends(self, replay_id: str, counts: Mapping[Partition, tuple[int, int]]) -> list[Message]:
        """An end marker for each partition of dc.power, which speaks for the other two topics as well."""
        names = self._settings.topics
        others = {f"{topic}/{p}": counts[topic, p] for topic, p in self.partitions if topic != names.power}
        found = []
        for p in range(self._partitions[names.power]):
            value = codec.encode_end(self.end_ms, replay_id, *counts[names.power, p], others)
            found.append(Message(self.end_ms, names.power, p, None, value))
        return found


class V0Decoder:
    """Messages of the first version as records; power, topology and ends are in our own layout."""

    def __init__(self, settings: StreamSettings) -> None:
        self._tasks, self._fragments = settings.topics.v0_tasks, settings.topics.v0_fragments
        self.row_topic = settings.topics.v0_fragments
        self._ids: dict[bytes, int] = {}

    def __call__(self, topic: str, key: Any, value: bytes | None, envelope: Envelope) -> tuple[Record, ...]:
        """The records in a message. Raises ``BadRecord``."""
        if topic == self._fragments:
            return (self._fragment(key, value),)
        if topic == self._tasks:
            return (_task(self._id(key), parse_object(value), envelope),)
        return (codec.decode(value),)

    def _id(self, key: Any) -> int:
        if not isinstance(key, bytes):
            raise BadRecord("no key; it must be an object with an id")
        known = self._ids.get(key)
        if known is None:
            known = read_id(parse_object(key).get("id"))
            if len(self._ids) > 1_000_000:
                self._ids.clear()
            self._ids[key] = known
        return known

    def rows(self, keys: Sequence[Any], values: Sequence[Any]) -> Columns | None:
        """Fragments as columns: begin, task, duration, usage; None when ``__call__`` has to look at each of them.

        Nothing is accepted here that ``__call__`` refuses: whatever is unusual in one message gives None for all.
        """
        try:
            owners = [self._ids[key] for key in keys]
            table = _parse_lines(values)
        except (KeyError, TypeError, ValueError):
            return None
        if table is None or any(column.null_count for column in table.columns):
            return None
        duration_ms, usage = (table[name].to_numpy() for name in ("duration", "cpu_usage"))
        end_ms = table["submission_time"].to_numpy().astype(np.int64)
        begin_ms = end_ms - duration_ms
        good = (duration_ms >= 0) & (duration_ms <= MAX_DURATION_MS) & (usage >= 0) & (usage <= MAX_NUMBER)
        if not np.all(good & (begin_ms >= 0) & (end_ms <= MAX_TIME_MS)):
            return None
        return begin_ms.tolist(), owners, duration_ms.tolist(), usage.tolist()

    def _fragment(self, key: Any, value: bytes | None) -> FragmentRow:
        data = parse_object(value)
        end_ms = iso_times.parse(data.get("submission_time"), "submission_time")
        duration_ms = integer(data, "duration", 0, MAX_DURATION_MS)
        if duration_ms > end_ms:
            raise BadRecord(f"duration {duration_ms} ms reaches back before 1970")
        return FragmentRow(end_ms - duration_ms, self._id(key), duration_ms, number(data, "cpu_usage"))


def _parse_lines(values: Sequence[bytes]) -> pa.Table | None:
    """The fragments of messages that are one flat object each, on one line; None for any others.

    Arrow's reader takes objects wherever they stand, so that it is made sure before that each has a line of its own.
    """
    lines = b"\n".join(values)
    one_each = lines.count(b"{") == len(values) == lines.count(b"\n") + 1 and all(v[0] == _BRACE for v in values if v)
    if not one_each:
        return None
    options = pa_json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
    table = pa_json.read_json(pa.BufferReader(lines), read_options=options, parse_options=_PARSE)
    return table if table.num_rows == len(values) else None


def _task(task_id: int, data: dict[str, Any], envelope: Envelope) -> TaskHead:
    """A task; without our header its number of fragments is unknown."""
    submission_ms = iso_times.parse(data.get("submission_time"), "submission_time")
    count, used = _announced(envelope)
    return TaskHead(
        time_ms=submission_ms,
        task_id=task_id,
        name=str(task_id),
        order=read_order(envelope),
        submission_ms=submission_ms,
        duration_ms=integer(data, "duration", 0, MAX_DURATION_MS),
        cpu_count=integer(data, "cpu_count", 0, MAX_COUNT),
        cpu_capacity_mhz=number(data, "cpu_capacity"),
        mem_capacity=integer(data, "mem_capacity", 0, 2**62),
        fragment_count=count,
        has_cpu_usage=used,
    )


def _announced(envelope: Envelope) -> tuple[int, bool]:
    header = (envelope.extra or {}).get(FRAGMENTS_HEADER)
    if header is None:
        return -1, True
    digits = header.rstrip(b"+")
    if not digits.isdigit() or len(digits) > 10 or int(digits) > MAX_FRAGMENTS:
        raise BadRecord(f"header {FRAGMENTS_HEADER} is {header[:40]!r}, must be a number up to {MAX_FRAGMENTS}")
    return int(digits), header.endswith(b"+")
