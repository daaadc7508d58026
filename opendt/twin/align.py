"""Bring measured power onto the grid of simulated samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opendt.models.telemetry import PowerSeries

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Measured power per sample [W], NaN where no reading belongs; readings kept for later; readings unused."""

    measured_w: F64
    pending: PowerSeries
    unused: int


def align_readings(
    sample_ms: I64, previous_ms: int | None, interval_ms: int, readings: PowerSeries, *, last: bool
) -> Aligned:
    """Give each sample the mean of the readings in the interval that ends at it.

    A reading belongs to the first sample at or after its time, if that sample is less than one interval later.
    Readings after the last sample wait for the next window, unless this one is the last.

    Args:
        sample_ms: sample times of this window, strictly increasing, epoch ms.
        previous_ms: last sample before this window, None at the start.
        interval_ms: spacing of samples [ms].
        readings: readings of this window and those pending from the one before.
        last: whether no further window comes.
    """
    measured = np.full(len(sample_ms), np.nan)
    if len(readings) == 0:
        return Aligned(measured, readings, 0)
    times, values = readings.timestamp_ms, readings.power_w
    at = np.searchsorted(sample_ms, times, side="left")
    beyond = at == len(sample_ms)
    pending = PowerSeries(times[beyond], values[beyond]) if not last else PowerSeries(times[:0], values[:0])
    known = ~beyond
    at, times, values = at[known], times[known], values[known]
    near = sample_ms[at] - times < interval_ms
    if previous_ms is not None:
        near &= times > previous_ms
    count = np.bincount(at[near], minlength=len(sample_ms))
    total = np.bincount(at[near], weights=values[near], minlength=len(sample_ms))
    filled = count > 0
    measured[filled] = total[filled] / count[filled]
    unused = int((~near).sum()) + (int(beyond.sum()) if last else 0)
    return Aligned(measured, pending, unused)


def first_of_each(timestamp_ms: I64) -> NDArray[np.intp]:
    """Index of the first row of each distinct time of a non-decreasing series.

    The end of a run can carry two or three rows of one time (SEMANTICS 5.5); the first covers the interval.
    """
    return np.unique(timestamp_ms, return_index=True)[1]


def join_readings(first: PowerSeries, second: PowerSeries) -> PowerSeries:
    """Both series as one, ordered by time; of equal times the later arrival wins."""
    times = np.concatenate([second.timestamp_ms, first.timestamp_ms])
    values = np.concatenate([second.power_w, first.power_w])
    unique, index = np.unique(times, return_index=True)
    return PowerSeries(unique, values[index])
