"""The native engine's state: immutable outside, a bundle of arrays inside, bytes for the lake."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from opendt.engine.base import EngineOptions
from opendt.engine.native.layout import Site, site_of
from opendt.errors import EngineError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology, parse_topology

MAGIC = b"opendt-native-state"
FORMAT = 2


@dataclass(frozen=True, slots=True)
class NativeState:
    """Everything the native engine needs to go on.

    ``arrays`` hold host, cluster, task and fragment columns by name; nobody writes to them after construction.
    Memory depends on hosts and live tasks, not on what has been simulated.

    Attributes:
        origin_ms: epoch time of the first submission; None before it.
        until_ms: epoch time up to which the simulation is complete; None before the first task.
        names: source ids of the live tasks, by slot.
        host_names: name of every host, also of those that a topology change left to drain.
        kept: what follows from topology, options and hosts alone, made when first needed.
    """

    topology: Topology
    options: EngineOptions
    carbon: CarbonTrace
    origin_ms: int | None
    until_ms: int | None
    names: tuple[str, ...]
    host_names: tuple[str, ...]
    arrays: dict[str, Any]
    site: Site  # names and groups of ``topology``
    steps: tuple[Any, Any] | None = None  # carbon trace on the simulated clock, once the origin is known
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def now_ms(self) -> int | None:
        """Epoch time up to which the simulation is complete; None before the first task."""
        return self.until_ms

    def to_bytes(self) -> bytes:
        """A self-contained snapshot, compressed; equal states give equal bytes."""
        columns = {
            **self.arrays,
            "carbon.step_ms": np.diff(self.carbon.timestamp_ms, prepend=0),
            "carbon.intensity": self.carbon.intensity_g_per_kwh,
            "names": _text(self.names),
            "host_names": _text(self.host_names),
        }
        ordered = {name: np.ascontiguousarray(columns[name]) for name in sorted(columns)}
        header = orjson.dumps(
            {
                "format": FORMAT,
                "topology": self.topology.model_dump(mode="json"),
                "options": asdict(self.options),
                "origin_ms": self.origin_ms,
                "until_ms": self.until_ms,
                "counts": [len(self.names), len(self.host_names)],
                "arrays": [(name, np.lib.format.dtype_to_descr(a.dtype), a.shape) for name, a in ordered.items()],
            }
        )
        body = len(header).to_bytes(8, "little") + header + b"".join(map(_packed, ordered.values()))
        packed = pa.Codec("zstd", compression_level=1).compress(body, asbytes=True)
        return MAGIC + len(body).to_bytes(8, "little") + packed


def state_from_bytes(data: bytes) -> NativeState:
    """Inverse of ``NativeState.to_bytes``; raises ``EngineError`` for anything else."""
    if not data.startswith(MAGIC):
        raise EngineError(
            "these bytes are not a state of the native engine. Resume with the engine that wrote them.",
            engine="native", reason="foreign state",
        )  # fmt: skip
    at = len(MAGIC) + 8
    try:
        size = int.from_bytes(data[len(MAGIC) : at], "little")
        body = pa.Codec("zstd").decompress(data[at:], decompressed_size=size, asbytes=True)
        head = 8 + int.from_bytes(body[:8], "little")
        header = orjson.loads(body[8:head])
        columns = _arrays(header["arrays"], body, head)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise EngineError(
            f"the state is damaged ({error}). Resume from an older checkpoint.", engine="native", reason="damaged state"
        ) from None
    if header["format"] != FORMAT:
        raise EngineError(
            f"the state has format {header['format']}, this version reads {FORMAT}. Start the run again.",
            engine="native", reason="state of another version",
        )  # fmt: skip
    carbon = CarbonTrace(np.cumsum(columns.pop("carbon.step_ms")), columns.pop("carbon.intensity"))
    task_count, host_count = header["counts"]
    topology = parse_topology(header["topology"], "state")
    return NativeState(
        topology=topology,
        options=EngineOptions(**header["options"]),
        carbon=carbon,
        origin_ms=header["origin_ms"],
        until_ms=header["until_ms"],
        names=_lines(columns.pop("names"), task_count),
        host_names=_lines(columns.pop("host_names"), host_count),
        arrays=columns,
        site=site_of(topology),
    )


def _packed(array: Any) -> bytes:
    """The array's bytes, first bytes of all items first: neighbours are alike, so that they compress well."""
    flat = array.reshape(-1)
    return flat.view(np.uint8).reshape(len(flat), array.dtype.itemsize).T.tobytes()


def _text(lines: tuple[str, ...]) -> Any:
    return np.frombuffer(orjson.dumps(lines), dtype=np.uint8)


def _lines(text: Any, count: int) -> tuple[str, ...]:
    lines = tuple(orjson.loads(text.tobytes()))
    if len(lines) != count:
        raise EngineError("the state is damaged (names are missing).", engine="native", reason="damaged state")
    return lines


def _arrays(described: list[Any], body: bytes, at: int) -> dict[str, Any]:
    columns = {}
    for name, dtype, shape in described:
        kind = np.dtype([tuple(field) for field in dtype] if isinstance(dtype, list) else dtype, align=True)
        count = int(np.prod(shape, dtype=np.int64))
        packed = np.frombuffer(body, np.uint8, count * kind.itemsize, at).reshape(kind.itemsize, count)
        columns[name] = np.ascontiguousarray(packed.T).view(kind).reshape(shape)
        at += count * kind.itemsize
    return columns
