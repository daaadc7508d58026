"""The OpenDC engine's state: everything that has arrived, and up to when results are out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from opendt.engine.base import EngineOptions
from opendt.errors import EngineError
from opendt.models.telemetry import CarbonTrace, no_carbon
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Tasks, Workload, empty_workload

ENGINE = "opendc"
FORMAT = 1
_MAGIC = b"opendt-opendc-state\n"
_NO_IDS: NDArray[np.int64] = np.zeros(0, np.int64)


@dataclass(frozen=True)
class OpenDCState:
    """State of a cumulative simulation.

    Attributes:
        topology, options, carbon: what to simulate.
        workload: all tasks with fragments, and all fragments, that have arrived.
        complete_ms: epoch time up to which the simulation is complete, None before the first task.
        shown_ms: samples and events before this epoch time are out; one past ``complete_ms`` after a run to the end.
        started, ended: ids of tasks whose placement and end have been reported.
        energy_j, carbon_g: reported so far.
        switched: whether the topology changed since the last advance.
    """

    topology: Topology
    options: EngineOptions
    carbon: CarbonTrace = field(default_factory=no_carbon)
    workload: Workload = field(default_factory=empty_workload)
    complete_ms: int | None = None
    shown_ms: int | None = None
    started: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)
    ended: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)
    energy_j: float = 0.0
    carbon_g: float = 0.0
    switched: bool = False

    @property
    def now_ms(self) -> int | None:
        """Epoch time up to which the simulation is complete; None before the first task."""
        return self.complete_ms

    @property
    def origin_ms(self) -> int | None:
        """Epoch time of OpenDC's time 0: the earliest submission."""
        return int(self.workload.tasks.submission_ms.min()) if len(self.workload.tasks) else None

    def under(self, topology: Topology) -> OpenDCState:
        """The same state with another topology."""
        return replace(self, topology=topology, switched=self.switched or self.shown_ms is not None)

    def to_bytes(self) -> bytes:
        """A self-contained snapshot: a JSON head, then Arrow tables."""
        head = {
            "format": FORMAT,
            "topology": self.topology.model_dump(mode="json"),
            "options": asdict(self.options),
            "parents": [[task, list(parents)] for task, parents in sorted(self.workload.tasks.parents.items())],
            "complete_ms": self.complete_ms, "shown_ms": self.shown_ms, "switched": self.switched,
            "energy_j": self.energy_j, "carbon_g": self.carbon_g,
        }  # fmt: skip
        parts = [
            json.dumps(head, sort_keys=True).encode(),
            _pack(_columns(self.workload.tasks)),
            _pack(_columns(self.workload.fragments)),
            _pack({"timestamp_ms": self.carbon.timestamp_ms, "intensity_g_per_kwh": self.carbon.intensity_g_per_kwh}),
            _pack({"started": self.started}),
            _pack({"ended": self.ended}),
        ]
        return _MAGIC + b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def state_from_bytes(data: bytes) -> OpenDCState:
    """Inverse of ``to_bytes``; raises ``EngineError`` for another engine's or version's bytes."""
    try:
        head, *tables = _split(data)
        facts = orjson.loads(head)
        if facts.get("format") != FORMAT:
            raise _foreign(f"has format {facts.get('format')}, this version reads {FORMAT}")
        tasks, fragments, carbon, started, ended = map(_unpack, tables)
        parents = {int(task): tuple(above) for task, above in facts["parents"]}
        options: dict[str, Any] = facts["options"]
        return OpenDCState(
            topology=parse_topology(facts["topology"], "state"),
            options=EngineOptions(**options),
            carbon=CarbonTrace(**carbon),
            workload=Workload(Tasks(**tasks, parents=parents), Fragments(**fragments)),
            complete_ms=facts["complete_ms"], shown_ms=facts["shown_ms"], switched=facts["switched"],
            started=started["started"], ended=ended["ended"],
            energy_j=facts["energy_j"], carbon_g=facts["carbon_g"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise _foreign(f"cannot be read ({error})") from None


def _foreign(what: str) -> EngineError:
    return EngineError(
        f"the engine state {what}. It belongs to another engine or version; start the run again.", engine=ENGINE,
        reason="foreign state",
    )  # fmt: skip


def _split(data: bytes) -> list[bytes]:
    if not data.startswith(_MAGIC):
        raise ValueError("it does not start like a state of the OpenDC engine")
    parts, at = [], len(_MAGIC)
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "big")
        if at + 8 + size > len(data):
            raise ValueError("it is cut short")
        parts.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return parts


def _columns(table: Tasks | Fragments) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.__slots__ if name != "parents"}


def _pack(columns: dict[str, Any]) -> bytes:
    arrays = [pa.array(v.astype(object) if v.dtype.kind == "U" else v, _kind(v)) for v in columns.values()]
    table = pa.table(arrays, names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _kind(values: NDArray[Any]) -> pa.DataType:
    return pa.string() if values.dtype.kind == "U" else pa.from_numpy_dtype(values.dtype)


def _unpack(data: bytes) -> dict[str, Any]:
    table = pa.ipc.open_stream(data).read_all()
    found = {}
    for field_ in table.schema:
        column = table[field_.name].to_numpy()
        text = pa.types.is_string(field_.type)
        found[field_.name] = column.astype(np.str_) if text else np.array(column)
    return found
