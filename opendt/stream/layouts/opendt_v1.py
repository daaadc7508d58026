"""Layout ``opendt-v1``: what OpenDT's services write and read (atlarge-research/opendt, services/dc-mock).

``dc.workload`` has one message per task with all its fragments nested, and heartbeats at every full minute of trace
time up to the last task; keys are the task's number and the word heartbeat. ``dc.power`` has readings without a key,
``dc.topology`` snapshots under the key datacenter. We send a heartbeat to every partition, where the original's only
reach one, and a last one at the end, without which its reader never closes its last window. What the format has no
room for (sequence, order of equal submission times, end) travels in headers, which its readers never look at.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from opendt.models.messages import (
    FragmentChunk,
    Heartbeat,
    Partition,
    PowerReading,
    Record,
    TaskHead,
    TopologyChange,
)
from opendt.models.topology import Topology
from opendt.settings import StreamSettings
from opendt.stream.codec import decode_object, read_end, read_topology
from opendt.stream.envelope import END, ORDER, BadRecord, Envelope
from opendt.stream.fields import MAX_COUNT, MAX_DURATION_MS, MAX_NUMBER, integer, number, parse_object
from opendt.stream.layouts import iso_times
from opendt.stream.layouts.planned import PlannedLayout
from opendt.stream.schedule import (
    HEARTBEAT,
    POWER,
    TASK,
    TOPOLOGY,
    Events,
    Message,
    Replayable,
    boundaries,
    events,
    grouped,
    merge,
)
from opendt.stream.topics import partition_of


class V1Layout(PlannedLayout):
    """A trace as the older services' messages, as one sequence."""

    def __init__(
        self, trace: Replayable, settings: StreamSettings, datacenter: str, partitions: Mapping[str, int]
    ) -> None:
        super().__init__(trace, settings, datacenter, partitions)
        tasks = trace.workload.tasks
        self._fragments, rows = grouped(tasks, trace.workload.fragments)
        self._stops = np.searchsorted(rows, np.arange(len(tasks)), side="right")
        self._starts = np.searchsorted(rows, np.arange(len(tasks)), side="left")
        self._numbers = tasks.task_id.tolist()
        self._events = self._plan()

    def _plan(self) -> Events:
        tasks, names = self._trace.workload.tasks, self._settings.topics
        workload_n, power_n = self._partitions[names.workload], self._partitions[names.power]
        owner = np.array([partition_of(str(n).encode(), workload_n) for n in self._numbers], np.int32)
        power_ms = self._power_times
        parts = [
            events(TASK, tasks.submission_ms, owner),
            events(POWER, power_ms, (np.arange(len(power_ms)) % power_n).astype(np.int32)),
        ]
        if len(tasks):
            begin_ms, last_ms = int(tasks.submission_ms.min()), int(tasks.submission_ms.max())
            at_ms = boundaries(begin_ms, last_ms, round(self._settings.heartbeat_s * 1000))
            parts.append(
                events(
                    HEARTBEAT, np.repeat(at_ms, workload_n), np.tile(np.arange(workload_n, dtype=np.int32), len(at_ms))
                )
            )
            if self._trace.topology is not None:
                parts.append(events(TOPOLOGY, np.array([begin_ms]), np.zeros(1, np.int32)))
        return merge(parts)

    def lanes(self) -> list[Iterator[Message]]:
        """The messages, as one sequence."""
        return [self._messages()]

    def _messages(self) -> Iterator[Message]:
        plan, names = self._events, self._settings.topics
        rows = zip(plan.time_ms.tolist(), plan.kind.tolist(), plan.index.tolist(), plan.partition.tolist(), strict=True)
        telling = self._telling(names.workload, names.power)
        for time_ms, kind, index, partition in rows:
            if kind == HEARTBEAT:
                value = encode_heartbeat(time_ms)
                yield Message(time_ms, names.workload, partition, b"heartbeat", value, None, telling(time_ms))
            elif kind == POWER:
                yield Message(time_ms, names.power, partition, None, self._power(index), None, telling(time_ms))
            elif kind == TASK:
                key = str(self._numbers[index]).encode()
                order = [(ORDER, b"%d" % index)]
                value = self._task(index, time_ms)
                yield Message(time_ms, names.workload, partition, key, value, order, telling(time_ms))
            elif self._trace.topology is not None:
                value = encode_topology(time_ms, self._trace.topology)
                yield Message(time_ms, names.topology, partition, b"datacenter", value)

    def _power(self, index: int) -> bytes:
        power = self._trace.power
        assert power is not None
        time_ms, power_w = int(power.timestamp_ms[index]), float(power.power_w[index])
        before_ms = int(power.timestamp_ms[index - 1]) if index else time_ms
        energy_j = power_w * (time_ms - before_ms) / 1000
        return orjson.dumps({"power_draw": power_w, "energy_usage": energy_j, "timestamp": iso_times.with_z(time_ms)})

    def _task(self, index: int, time_ms: int) -> bytes:
        tasks = self._trace.workload.tasks
        head = {
            "id": self._numbers[index],
            "submission_time": iso_times.with_z(time_ms),
            "duration": int(tasks.duration_ms[index]),
            "cpu_count": int(tasks.cpu_count[index]),
            "cpu_capacity": float(tasks.cpu_capacity_mhz[index]),
            "mem_capacity": int(tasks.mem_capacity[index]),
        }
        stamp = iso_times.with_offset(time_ms).encode()
        fragments = self._nested(index, head["id"], head["cpu_count"])
        start = b'{"message_type":"task","timestamp":"' + stamp + b'","task":' + orjson.dumps(head)[:-1]
        return start + b',"fragments":[' + fragments + b"]}}"

    def _nested(self, index: int, number: int, cores: int) -> bytes:
        """Fragments as JSON objects, put together from two columns printed at once."""
        part = slice(self._starts[index], self._stops[index])
        durations = json_numbers(self._fragments.duration_ms[part])
        usages = json_numbers(self._fragments.cpu_usage_mhz[part])
        before, between = b'{"task_id":%d,"duration":' % number, b',"cpu_count":%d,"cpu_usage":' % cores
        return b",".join([before + d + between + u + b"}" for d, u in zip(durations, usages, strict=True)])

    def ends(self, replay_id: str, counts: Mapping[Partition, tuple[int, int]]) -> list[Message]:
        """A heartbeat to each workload partition, with the end in a header, for itself and for dc.power."""
        names = self._settings.topics
        others = {f"{topic}/{p}": list(counts[topic, p]) for topic, p in self.partitions if topic == names.power}
        found = []
        for p in range(self._partitions[names.workload]):
            count, checksum = counts[names.workload, p]
            end = {"count": count, "checksum": checksum, "others": others}
            value = encode_heartbeat(self.end_ms)
            extra = [(END, orjson.dumps(end))]
            found.append(Message(self.end_ms, names.workload, p, b"heartbeat", value, extra))
        return found


def json_numbers(column: np.ndarray) -> list[bytes]:
    """Each number's JSON text."""
    return orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(column) else []


def encode_heartbeat(time_ms: int) -> bytes:
    """A heartbeat."""
    return orjson.dumps({"message_type": "heartbeat", "timestamp": iso_times.with_offset(time_ms)})


def encode_topology(time_ms: int, topology: Topology) -> bytes:
    """A topology snapshot, every field written out; the older model requires a carbon trace in a power source."""
    data = topology.model_dump(mode="json")
    for cluster in data["clusters"]:
        if cluster["powerSource"]["carbonTracePath"] is None:
            del cluster["powerSource"]
    return orjson.dumps({"timestamp": iso_times.with_z(time_ms), "topology": data})


class V1Decoder:
    """Messages of the older services as records."""

    def __init__(self, settings: StreamSettings) -> None:
        names = settings.topics
        self._of_topic = {
            names.workload: _workload,
            names.power: _power,
            names.topology: _topology,
            names.sim_topology: _topology,
        }

    def __call__(self, topic: str, key: Any, value: bytes | None, envelope: Envelope) -> tuple[Record, ...]:
        """The records in a message. Raises ``BadRecord``."""
        return self._of_topic[topic](parse_object(value), envelope)


def _workload(data: dict[str, Any], envelope: Envelope) -> tuple[Record, ...]:
    kind = data.get("message_type")
    if kind == "heartbeat":
        time_ms = iso_times.parse(data.get("timestamp"), "timestamp")
        end = (envelope.extra or {}).get(END)
        return (Heartbeat(time_ms) if end is None else read_end(time_ms, parse_object(end)),)
    if kind != "task" or not isinstance(data.get("task"), dict):
        raise BadRecord(f"message_type is {str(kind)[:60]!r}; known are heartbeat, and task with a task")
    return _task(data["task"], envelope)


def _task(task: dict[str, Any], envelope: Envelope) -> tuple[Record, ...]:
    submission_ms = iso_times.parse(task.get("submission_time"), "submission_time")
    listed = task.get("fragments", [])
    if not isinstance(listed, list):
        raise BadRecord("fragments must be a list")
    head = TaskHead(
        time_ms=submission_ms,
        task_id=(task_id := read_id(task.get("id"))),
        name=str(task_id),
        order=read_order(envelope),
        submission_ms=submission_ms,
        duration_ms=integer(task, "duration", 0, MAX_DURATION_MS),
        cpu_count=integer(task, "cpu_count", 0, MAX_COUNT),
        cpu_capacity_mhz=number(task, "cpu_capacity"),
        mem_capacity=integer(task, "mem_capacity", 0, 2**62),
        fragment_count=len(listed),
        has_cpu_usage=False,
    )
    if not listed:
        return (head,)
    try:
        durations = array("q", [f["duration"] for f in listed])
        usages = array("d", [f["cpu_usage"] for f in listed])
    except (TypeError, KeyError, OverflowError):
        raise BadRecord("fragments must have a whole duration and a cpu_usage") from None
    if min(durations) < 0 or max(durations) > MAX_DURATION_MS or min(usages) < 0 or max(usages) > MAX_NUMBER:
        raise BadRecord("a fragment's duration or cpu_usage is out of range")
    head.has_cpu_usage = max(usages) > 0
    return head, FragmentChunk(submission_ms, task_id, 0, len(listed), durations, usages)


def read_id(value: Any) -> int:
    """A task's number: a whole number, its text, or ``task-<number>``. Raises ``BadRecord``."""
    text = value.rpartition("task-")[2] if isinstance(value, str) else value
    try:
        number = int(text) if isinstance(text, str) else text
    except ValueError:
        number = None
    if type(number) is not int or not -(2**63) <= number < 2**63:
        raise BadRecord(f"id is {str(value)[:60]!r}, must be a whole number")
    return number


def read_order(envelope: Envelope) -> int:
    """Place among equal submission times, 0 where the sender gives none (then order of arrival decides)."""
    order = (envelope.extra or {}).get(ORDER, b"0")
    if not order.isdigit() or len(order) > 15:
        raise BadRecord(f"header {ORDER} is {order[:40]!r}, must be a number")
    return int(order)


def _power(data: dict[str, Any], envelope: Envelope) -> tuple[Record, ...]:
    return (PowerReading(iso_times.parse(data.get("timestamp"), "timestamp"), number(data, "power_draw")),)


def _topology(data: dict[str, Any], envelope: Envelope) -> tuple[Record, ...]:
    """A snapshot; its timestamp is the sender's wall clock, not trace time, so it holds from when it is read.

    Our own programs (API, calibration) write to the same topics in our own layout.
    """
    if "v" in data:
        return (decode_object(data),)
    return (TopologyChange(None, read_topology(data.get("topology")), "stream"),)
