"""Layout ``columns``: small JSON messages, a task's fragments as columns in chunks. Our own, and the default.

====================  =========================================================================================
``type``              fields beside ``v`` (1), ``type`` and ``time_ms`` (event time, epoch ms)
====================  =========================================================================================
``task``              ``task`` (text id), ``order``, ``submission_ms``, ``duration_ms``, ``cpu_count``,
                      ``cpu_capacity_mhz``, ``mem_capacity``, ``fragment_count``, ``has_cpu_usage``; optional:
                      ``gpu_count``, ``gpu_capacity_mhz``, ``deadline_ms``, ``deferrable``, ``parents`` (text ids)
``fragments``         ``task``, ``first`` (number of the first fragment), ``count``, and ``duration_ms``,
                      ``cpu_usage_mhz``, optional ``gpu_usage_mhz``: a list of ``count`` numbers, or one number
                      that holds for all of them
``power``             ``power_w``
``topology``          ``topology`` (OpenDC's JSON), optional ``source``; ``time_ms`` may be null: when it is read
``heartbeat``         nothing
``end``               ``replay``, ``count``, ``checksum``, optional ``others``
====================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from opendt.errors import TopologyError
from opendt.models.messages import (
    MAX_FRAGMENTS,
    EndOfStream,
    FragmentChunk,
    Heartbeat,
    PowerReading,
    Record,
    TaskHead,
    TopologyChange,
)
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Tasks, task_number
from opendt.stream.envelope import BadRecord
from opendt.stream.fields import (
    MAX_CHUNK,
    MAX_COUNT,
    MAX_DURATION_MS,
    MAX_NAME,
    MAX_TIME_MS,
    boolean,
    integer,
    integer_column,
    number,
    number_column,
    parse_object,
    show,
    text,
)

VERSION = 1
_HEARTBEAT = b'{"v":1,"type":"heartbeat","time_ms":'

_Arrays = orjson.OPT_SERIALIZE_NUMPY


def encode_task(tasks: Tasks, index: int) -> bytes:
    """The head of task ``index``; its place in the table is its order."""
    number = int(tasks.task_id[index])
    message: dict[str, Any] = {
        "v": VERSION,
        "type": "task",
        "time_ms": int(tasks.submission_ms[index]),
        "task": str(tasks.name[index]),
        "order": index,
        "submission_ms": int(tasks.submission_ms[index]),
        "duration_ms": int(tasks.duration_ms[index]),
        "cpu_count": int(tasks.cpu_count[index]),
        "cpu_capacity_mhz": float(tasks.cpu_capacity_mhz[index]),
        "mem_capacity": int(tasks.mem_capacity[index]),
        "fragment_count": int(tasks.fragment_count[index]),
        "has_cpu_usage": bool(tasks.has_cpu_usage[index]),
    }
    if tasks.gpu_count[index] or tasks.gpu_capacity_mhz[index]:
        message["gpu_count"] = int(tasks.gpu_count[index])
        message["gpu_capacity_mhz"] = float(tasks.gpu_capacity_mhz[index])
    if tasks.deadline_ms[index] >= 0:
        message["deadline_ms"] = int(tasks.deadline_ms[index])
    if tasks.deferrable[index]:
        message["deferrable"] = True
    if number in tasks.parents:
        message["parents"] = [str(parent) for parent in tasks.parents[number]]
    return orjson.dumps(message)


def encode_fragments(
    time_ms: int,
    name: str,
    first: int,
    count: int,
    duration_ms: int | NDArray[np.int64],
    cpu_usage_mhz: float | NDArray[np.float64],
    gpu_usage_mhz: float | NDArray[np.float64],
) -> bytes:
    """A chunk of fragments; a column given as one number is sent as one number."""
    message = {
        "v": VERSION,
        "type": "fragments",
        "time_ms": time_ms,
        "task": name,
        "first": first,
        "count": count,
        "duration_ms": duration_ms,
        "cpu_usage_mhz": cpu_usage_mhz,
    }
    if not (isinstance(gpu_usage_mhz, float) and gpu_usage_mhz == 0.0):
        message["gpu_usage_mhz"] = gpu_usage_mhz
    return orjson.dumps(message, option=_Arrays)


def encode_power(time_ms: int, power_w: float) -> bytes:
    """A power reading."""
    return orjson.dumps({"v": VERSION, "type": "power", "time_ms": time_ms, "power_w": power_w})


def encode_topology(time_ms: int | None, topology: Topology, source: str) -> bytes:
    """A topology."""
    data = orjson.Fragment(topology.to_json())
    return orjson.dumps({"v": VERSION, "type": "topology", "time_ms": time_ms, "source": source, "topology": data})


def encode_heartbeat(time_ms: int) -> bytes:
    """A heartbeat."""
    return _HEARTBEAT + b"%d}" % time_ms


def encode_end(
    time_ms: int, replay_id: str, count: int, checksum: int, others: Mapping[str, tuple[int, int]] | None = None
) -> bytes:
    """The last record of a replay in a partition."""
    message: dict[str, Any] = {
        "v": VERSION, "type": "end", "time_ms": time_ms, "replay": replay_id, "count": count, "checksum": checksum,
    }  # fmt: skip
    if others:
        message["others"] = others
    return orjson.dumps(message)


def decode(value: bytes | None) -> Record:
    """The record in a message's value. Raises ``BadRecord`` saying which field is wrong."""
    if value is not None and value.startswith(_HEARTBEAT):  # half of all messages; this is what _heartbeat gives
        digits = value[len(_HEARTBEAT) : -1]
        if digits.isdigit() and value.endswith(b"}") and len(digits) < 15 and digits[0] != 48:
            return Heartbeat(int(digits))
    return decode_object(parse_object(value))


def decode_object(data: dict[str, Any]) -> Record:
    """The record in an object. Raises ``BadRecord``."""
    if data.get("v") != VERSION:
        raise BadRecord(f"version is {show(data.get('v'))}, known is {VERSION}")
    kind = data.get("type")
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise BadRecord(f"type is {show(kind)}, known are {', '.join(_DECODERS)}")
    return decoder(data)


def _fragments(data: dict[str, Any]) -> FragmentChunk:
    count = integer(data, "count", 1, MAX_CHUNK)
    return FragmentChunk(
        time_ms=integer(data, "time_ms", 0, MAX_TIME_MS),
        task_id=task_number(text(data, "task")),
        first=integer(data, "first", 0, MAX_COUNT),
        count=count,
        duration_ms=integer_column(data, "duration_ms", count, MAX_DURATION_MS),
        cpu_usage_mhz=number_column(data, "cpu_usage_mhz", count),
        gpu_usage_mhz=number_column(data, "gpu_usage_mhz", count) if "gpu_usage_mhz" in data else 0.0,
    )


def _task(data: dict[str, Any]) -> TaskHead:
    name = text(data, "task")
    submission_ms = integer(data, "submission_ms", 0, MAX_TIME_MS)
    if integer(data, "time_ms", 0, MAX_TIME_MS) != submission_ms:
        raise BadRecord(f"time_ms {data['time_ms']} of a task is not its submission_ms {submission_ms}")
    parents = data.get("parents", [])
    if not isinstance(parents, list) or not all(isinstance(p, str) and 0 < len(p) <= MAX_NAME for p in parents):
        raise BadRecord("parents must be a list of text ids")
    return TaskHead(
        time_ms=submission_ms,
        task_id=task_number(name),
        name=name,
        order=integer(data, "order", 0, MAX_TIME_MS),
        submission_ms=submission_ms,
        duration_ms=integer(data, "duration_ms", 0, MAX_DURATION_MS),
        cpu_count=integer(data, "cpu_count", 0, MAX_COUNT),
        cpu_capacity_mhz=number(data, "cpu_capacity_mhz"),
        mem_capacity=integer(data, "mem_capacity", 0, 2**62),
        fragment_count=integer(data, "fragment_count", 0, MAX_FRAGMENTS),
        has_cpu_usage=boolean(data, "has_cpu_usage"),
        gpu_count=integer(data, "gpu_count", 0, MAX_COUNT) if "gpu_count" in data else 0,
        gpu_capacity_mhz=number(data, "gpu_capacity_mhz") if "gpu_capacity_mhz" in data else 0.0,
        deadline_ms=integer(data, "deadline_ms", -1, MAX_TIME_MS) if "deadline_ms" in data else -1,
        deferrable=boolean(data, "deferrable") if "deferrable" in data else False,
        parents=tuple(task_number(parent) for parent in parents),
    )


def _power(data: dict[str, Any]) -> PowerReading:
    return PowerReading(integer(data, "time_ms", 0, MAX_TIME_MS), number(data, "power_w"))


def _heartbeat(data: dict[str, Any]) -> Heartbeat:
    return Heartbeat(integer(data, "time_ms", 0, MAX_TIME_MS))


def _topology(data: dict[str, Any]) -> TopologyChange:
    source = data.get("source", "stream")
    if not isinstance(source, str) or len(source) > MAX_NAME:
        raise BadRecord("source must be a short text")
    time_ms = None if data.get("time_ms") is None else integer(data, "time_ms", 0, MAX_TIME_MS)
    return TopologyChange(time_ms, read_topology(data.get("topology")), source)


def read_topology(data: Any) -> Topology:
    """A checked topology. Raises ``BadRecord`` naming its first problem."""
    try:
        return parse_topology(data, "topology")
    except TopologyError as error:
        raise BadRecord(error.message) from None


def _end(data: dict[str, Any]) -> EndOfStream:
    return read_end(integer(data, "time_ms", 0, MAX_TIME_MS), data)


def read_end(time_ms: int, data: dict[str, Any]) -> EndOfStream:
    """An end marker from an object with ``count``, ``checksum`` and perhaps ``others``. Raises ``BadRecord``."""
    others = data.get("others", {})
    pairs = isinstance(others, dict) and all(
        isinstance(v, list) and len(v) == 2 and all(type(n) is int and n >= 0 for n in v) for v in others.values()
    )
    if not pairs:
        raise BadRecord("others must map partitions to a count and a checksum")
    return EndOfStream(
        time_ms=time_ms,
        count=integer(data, "count", 0, 2**53),
        checksum=integer(data, "checksum", 0, 2**32 - 1),
        others={where: (count, checksum) for where, (count, checksum) in others.items()},
    )


_DECODERS: dict[str, Callable[[dict[str, Any]], Record]] = {
    "fragments": _fragments,
    "power": _power,
    "heartbeat": _heartbeat,
    "task": _task,
    "topology": _topology,
    "end": _end,
}
