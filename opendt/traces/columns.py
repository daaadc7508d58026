"""Column maps: what each source calls a quantity, what type it may have, and what stands in when it is absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["id", "integer", "number", "time", "text", "ids"]

# No source has times or durations beyond the year 9999; larger ones are microseconds or nanoseconds by mistake.
LATEST_MS = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a source file.

    Attributes:
        name: our name, with its unit.
        source: name in the file.
        kind: what values it may hold: ``id`` text or integer, ``integer``, ``number``, ``time`` (timestamp of any
            unit and zone, or integer ms), ``text``, ``ids`` (list of id).
        required: whether the file must have it; a null in a required column is an error.
        default: value of an absent optional column and of its nulls.
        low, high: inclusive bounds of valid values; None for none.
    """

    name: str
    source: str
    kind: Kind
    required: bool = True
    default: Any = None
    low: float | None = None
    high: float | None = None


OPENDC_TASKS: tuple[Column, ...] = (
    Column("task_id", "id", "id"),
    Column("submission_ms", "submission_time", "time", high=LATEST_MS),
    Column("duration_ms", "duration", "integer", low=0, high=LATEST_MS),
    Column("cpu_count", "cpu_count", "integer", low=0, high=2**31 - 1),
    Column("cpu_capacity_mhz", "cpu_capacity", "number", low=0),
    Column("mem_capacity", "mem_capacity", "integer", low=0),
    Column("gpu_count", "gpu_count", "integer", required=False, default=0, low=0, high=2**31 - 1),
    Column("gpu_capacity_mhz", "gpu_capacity", "number", required=False, default=0.0, low=0),
    Column("deadline_ms", "deadline", "time", required=False, default=-1, high=LATEST_MS),
    Column("nature", "nature", "text", required=False, default=""),
    Column("parents", "parents", "ids", required=False, default=()),
    Column("children", "children", "ids", required=False, default=()),
)

OPENDC_FRAGMENTS: tuple[Column, ...] = (
    Column("task_id", "id", "id"),
    Column("duration_ms", "duration", "integer", low=0, high=LATEST_MS),
    Column("cpu_usage_mhz", "cpu_usage", "number", low=0),
    Column("gpu_usage_mhz", "gpu_usage", "number", required=False, default=0.0, low=0),
)

CONSUMPTION: tuple[Column, ...] = (
    Column("timestamp_ms", "timestamp", "time", low=0, high=LATEST_MS),
    Column("power_w", "power_draw", "number", low=0),
)

# Read only where several rows share a time: names can be kilobytes long.
CONSUMPTION_HOST = Column("host", "host", "text", required=False, default="")

CARBON: tuple[Column, ...] = (
    Column("timestamp_ms", "timestamp", "time", high=LATEST_MS),
    Column("intensity_g_per_kwh", "carbon_intensity", "number", low=0),
)
