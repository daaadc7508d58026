"""Synthetic carbon intensity of the electricity grid."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy.signal import lfilter

from opendt.models.telemetry import CarbonTrace
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.units import MS_PER_DAY

_STEP_MS = 15 * 60_000
_PER_DAY = MS_PER_DAY // _STEP_MS

# g/kWh by hour of the day: the sun takes the middle of the day, the evening peak is fossil.
_HOUR_G = (
    189, 195, 197, 201, 203, 204, 198, 185, 177, 168, 153, 134,
    125, 123, 124, 129, 139, 156, 166, 168, 171, 176, 181, 185,
)  # fmt: skip


def make_carbon(options: SyntheticOptions, rng: Generator) -> CarbonTrace:
    """Carbon intensity each 15 minutes from a day before the start to two days after the end [g/kWh]."""
    first = (options.start_ms - MS_PER_DAY) // _STEP_MS * _STEP_MS
    timestamp_ms = np.arange(first, options.end_ms + 2 * MS_PER_DAY, _STEP_MS, dtype=np.int64)
    hour = (timestamp_ms % MS_PER_DAY) / (MS_PER_DAY / 24)
    daily = np.interp(hour, np.arange(25), [*_HOUR_G, _HOUR_G[0]])
    keep = np.exp(-1 / _PER_DAY)  # weather changes within about a day
    weather = lfilter([np.sqrt(1 - keep**2)], [1.0, -keep], rng.normal(size=len(timestamp_ms)))
    intensity = daily + 45 * weather + 2 * rng.normal(size=len(timestamp_ms))
    return CarbonTrace(timestamp_ms, np.round(np.maximum(intensity, 20.0), 3))
