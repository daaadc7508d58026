"""Conversions between units, and nothing else. Used where data enters and leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

J_PER_KWH = 3.6e6
MS_PER_S = 1_000
MS_PER_HOUR = 3_600_000
MS_PER_DAY = 86_400_000
G_PER_KG = 1_000.0


def joules_to_kwh(energy_j: Any) -> Any:
    """Energy in kWh [kWh] from joules [J]; scalar or array."""
    return energy_j / J_PER_KWH


def kwh_to_joules(energy_kwh: Any) -> Any:
    """Energy in joules [J] from kWh [kWh]; scalar or array."""
    return energy_kwh * J_PER_KWH


def carbon_g(energy_j: Any, intensity_g_per_kwh: Any) -> Any:
    """Emission [g] of energy [J] drawn at a carbon intensity [g/kWh]; scalar or array."""
    return energy_j / J_PER_KWH * intensity_g_per_kwh


def ms_to_datetime(epoch_ms: int) -> datetime:
    """Aware UTC datetime of an epoch time [ms]."""
    return datetime.fromtimestamp(epoch_ms / MS_PER_S, tz=UTC)


def datetime_to_ms(moment: datetime) -> int:
    """Epoch time [ms] of a datetime; a naive one is read as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * MS_PER_S)


def parse_time_ms(text: str | int | float) -> int:
    """Epoch time [ms] from an ISO 8601 text (``Z`` or offset or none, read as UTC) or a number of ms.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(text, int | float):
        return int(text)
    if text.strip().lstrip("-").isdigit():
        return int(text)
    return datetime_to_ms(datetime.fromisoformat(text.strip().replace("Z", "+00:00")))


def iso(epoch_ms: int) -> str:
    """ISO 8601 text with a ``Z`` of an epoch time [ms], without fraction where it is zero."""
    text = ms_to_datetime(epoch_ms).isoformat()
    return text.replace("+00:00", "Z")


def mem_capacity_to_mib(mem_capacity: Any) -> Any:
    """OpenDC's task memory [MiB] from the trace's ``mem_capacity``: divided by 1000, rounded half up.

    Scalar or integer array; negative values are not expected.
    """
    return np.floor_divide(np.asarray(mem_capacity, dtype=np.int64) + 500, 1000)
