"""Measured power and carbon intensity of a trace folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from opendt.errors import TraceError
from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.traces import values
from opendt.traces.columns import CARBON, CONSUMPTION, CONSUMPTION_HOST
from opendt.traces.parquet import RawTable, read_raw
from opendt.traces.values import RowCheck

# Integer times from here on (1973-03-03) count from the epoch, smaller ones from the earliest submission: no cluster
# was recorded that early, and no recording is three years long.
ABSOLUTE_FROM_MS = 100_000_000_000


def decode_power(path: Path, raw: RawTable, origin_ms: int, skip_invalid: bool) -> tuple[PowerSeries, RowCheck]:
    """Measured power of a ``consumption.parquet``, ordered by time.

    A timestamp column holds epoch times. An integer column holds epoch ms if its largest value is at least
    ``ABSOLUTE_FROM_MS``, otherwise ms since ``origin_ms``. Unordered rows are sorted and counted. Rows of one time are
    added where they name different hosts; of equal ones the first stays.

    Args:
        path: the file, read again where rows share a time.
        raw: its columns of ``CONSUMPTION``.
        origin_ms: earliest submission of the trace [epoch ms].
        skip_invalid: drop and count bad rows instead of raising.
    """
    check = RowCheck(raw.file, raw.rows, skip_invalid)
    time_column, power_column = CONSUMPTION
    time_ms = values.times(raw.arrays["timestamp_ms"], time_column, check)
    power_w = values.numbers(raw.arrays["power_w"], power_column, check)
    row = check.kept(np.arange(raw.rows))
    if len(row) == 0:
        raise TraceError(f"{raw.file}: no valid row is left. Fix the file or remove it.", file=raw.file)
    stamped = pa.types.is_timestamp(raw.arrays["timestamp_ms"].type)
    relative = not stamped and int(time_ms[row].max()) < ABSOLUTE_FROM_MS
    order = _time_order(time_ms[row], check)
    row = row[order]
    time_ms = time_ms + (origin_ms if relative else 0)
    if np.any(time_ms[row][1:] == time_ms[row][:-1]):
        return _merged(path, row, time_ms, power_w, check), check
    return PowerSeries(time_ms[row], power_w[row]), check


def read_carbon(path: Path, skip_invalid: bool) -> tuple[CarbonTrace, RowCheck]:
    """Carbon intensity of a ``carbon.parquet``, ordered by time; of equal times the last row counts."""
    raw = read_raw(path, CARBON)
    check = RowCheck(raw.file, raw.rows, skip_invalid)
    time_column, intensity_column = CARBON
    time_ms = values.times(raw.arrays["timestamp_ms"], time_column, check)
    intensity = values.numbers(raw.arrays["intensity_g_per_kwh"], intensity_column, check)
    time_ms, intensity = check.kept(time_ms), check.kept(intensity)
    if len(time_ms) == 0:
        raise TraceError(f"{raw.file}: no valid row is left. Fix the file or remove it.", file=raw.file)
    order = _time_order(time_ms, check)
    return CarbonTrace(time_ms[order], intensity[order]), check


def _time_order(time_ms: np.ndarray, check: RowCheck) -> np.ndarray:
    late = int(np.count_nonzero(time_ms[1:] < time_ms[:-1]))
    if not late:
        return np.arange(len(time_ms))
    check.repaired["rows out of time order, sorted"] += late
    return np.argsort(time_ms, kind="stable")


def _merged(path: Path, row: np.ndarray, time_ms: np.ndarray, power_w: np.ndarray, check: RowCheck) -> PowerSeries:
    raw = read_raw(path, (CONSUMPTION[0], CONSUMPTION_HOST))
    hosts = values.texts(raw.arrays["host"], CONSUMPTION_HOST) if "host" in raw.arrays else [""] * raw.rows
    total: dict[int, float] = {}
    seen: set[tuple[int, str]] = set()
    for index in row.tolist():
        key = (int(time_ms[index]), hosts[index])
        if key in seen:
            check.dropped["duplicate time"] += 1
            continue
        if key[0] in total:
            check.repaired["rows of several hosts added"] += 1
        seen.add(key)
        total[key[0]] = total.get(key[0], 0.0) + float(power_w[index])
    return PowerSeries(np.array(list(total), np.int64), np.array(list(total.values())))
