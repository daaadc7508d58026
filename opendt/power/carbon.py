"""Carbon: intensity lookup, operational and embodied emissions. Pure functions on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.models.telemetry import CarbonTrace
from opendt.units import J_PER_KWH, MS_PER_HOUR, MS_PER_S

F64 = NDArray[np.float64]

EMBODIED_KG_PER_HOST = 1_000.0
EMBODIED_YEARS = 5.0


def intensity_at(trace: CarbonTrace, epoch_ms: Any) -> F64:
    """Carbon intensity [g/kWh] at times [epoch ms], same shape; zeros for an empty trace.

    A step function: a value holds from its timestamp to the next; the first also before it, the last for ever.
    """
    return np.asarray(trace.at(np.asarray(epoch_ms, dtype=np.int64)), dtype=np.float64)


def mean_intensity(trace: CarbonTrace, from_ms: Any, until_ms: Any) -> F64:
    """Time-weighted mean intensity [g/kWh] over intervals ``[from_ms, until_ms)`` [epoch ms].

    ``from_ms`` and ``until_ms`` broadcast; an empty interval has the intensity of its start.
    """
    start, end = np.broadcast_arrays(np.asarray(from_ms, np.int64), np.asarray(until_ms, np.int64))
    if len(trace) == 0:
        return np.zeros(start.shape)
    length = (end - start).astype(np.float64)
    integral = _integral(trace, end) - _integral(trace, start)
    return np.where(length > 0, integral / np.where(length > 0, length, 1.0), intensity_at(trace, start))


def _integral(trace: CarbonTrace, epoch_ms: NDArray[np.int64]) -> F64:
    """Integral [g/kWh x ms] of the intensity from the first timestamp to each time; negative before it."""
    steps = np.concatenate([[0.0], np.cumsum(np.diff(trace.timestamp_ms) * trace.intensity_g_per_kwh[:-1])])
    index = np.maximum(np.searchsorted(trace.timestamp_ms, epoch_ms, side="right") - 1, 0)
    return steps[index] + (epoch_ms - trace.timestamp_ms[index]) * trace.intensity_g_per_kwh[index]


def emission_g(power_w: Any, from_ms: Any, until_ms: Any, trace: CarbonTrace) -> F64:
    """Grams [g] emitted by constant power [W] over intervals ``[from_ms, until_ms)`` [epoch ms].

    Exact also when the intensity changes inside an interval. NaN power gives NaN.

    >>> from opendt.models.telemetry import CarbonTrace
    >>> trace = CarbonTrace(np.array([0]), np.array([100.0]))
    >>> round(float(emission_g(625.0, 0, 30_000, trace)), 6)
    0.520833
    """
    seconds = (np.asarray(until_ms, np.int64) - np.asarray(from_ms, np.int64)) / MS_PER_S
    energy_kwh = np.asarray(power_w, dtype=np.float64) * seconds / J_PER_KWH
    return energy_kwh * mean_intensity(trace, from_ms, until_ms)


def embodied_g(interval_ms: Any, hosts: Any = 1) -> F64:
    """Embodied carbon [g] of hosts over a time [ms].

    OpenDC's accounting: 1,000 kg per host spread evenly over 5 years of 365 days, whatever the host does;
    0.951294 g per host in 150 s.
    """
    lifetime_ms = EMBODIED_YEARS * 365 * 24 * MS_PER_HOUR
    return np.asarray(hosts, dtype=np.float64) * np.asarray(interval_ms) * (EMBODIED_KG_PER_HOST * 1_000 / lifetime_ms)
