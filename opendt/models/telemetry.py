"""Measured power and carbon intensity as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerSeries:
    """Measured power of the whole datacenter: ``n`` samples ordered by time."""

    timestamp_ms: I64  # epoch ms
    power_w: F64

    def __len__(self) -> int:
        return len(self.timestamp_ms)


@dataclass(frozen=True, slots=True)
class CarbonTrace:
    """Carbon intensity as a step function: a value holds from its timestamp to the next one.

    The first value also holds before the first timestamp, the last one for ever. Ordered by time.
    """

    timestamp_ms: I64  # epoch ms
    intensity_g_per_kwh: F64

    def __len__(self) -> int:
        return len(self.timestamp_ms)

    def at(self, epoch_ms: I64) -> F64:
        """Intensity [g/kWh] at times [ms], same shape as the argument; zeros when the trace is empty."""
        if len(self) == 0:
            return np.zeros(np.shape(epoch_ms))
        index = np.searchsorted(self.timestamp_ms, epoch_ms, side="right") - 1
        return self.intensity_g_per_kwh[np.maximum(index, 0)]


def no_carbon() -> CarbonTrace:
    """A carbon trace without values: every emission is zero."""
    return CarbonTrace(np.zeros(0, np.int64), np.zeros(0))
