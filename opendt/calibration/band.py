"""Bands that hold what they promise: adaptive conformal prediction, and what it means for totals.

Bands for the next hour; ``ahead.py`` has those for longer leads.

References: [1] I. Gibbs, E. Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021,
arXiv:2106.00170; [2] W. K. Newey, K. D. West, Econometrica 55 (1987), doi:10.2307/1913610 (variance of a mean of
correlated errors).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.calibration.state import pack, unpack

F64 = NDArray[np.float64]

COVERAGE = 0.9
KEPT_ERRORS = 2_880
LEAST_ERRORS = 60
RATE = 0.1
LEAST_MISS, MOST_MISS = 0.005, 0.5
NORMAL_90 = 1.6448536269514722

Limits = tuple[float, float]


def share_outside(errors: F64, limits: Limits) -> float:
    """Share of relative errors, shape (n,) with n > 0, beyond the ends of a band."""
    return float(np.mean((errors < limits[0]) | (errors > limits[1])))


def adapted(miss: float, missed: float, rate: float) -> float:
    """The share of errors to leave outside from now on, after a share ``missed`` was outside [1]."""
    return float(np.clip(miss + rate * (1.0 - COVERAGE - missed), LEAST_MISS, MOST_MISS))


class ConformalBand:
    """A band from the relative errors of the last samples, widened or narrowed when it misses too many or too few."""

    def __init__(self) -> None:
        self.errors: NDArray[np.float32] = np.zeros(0, np.float32)
        self.miss = 1.0 - COVERAGE

    def limits(self) -> Limits | None:
        """Relative error of measured against predicted power at the band's ends; None with too few errors."""
        if len(self.errors) < LEAST_ERRORS:
            return None
        low, high = np.quantile(self.errors, [self.miss / 2, 1 - self.miss / 2])
        return float(low), float(high)

    def learn(self, errors: F64) -> None:
        """Add the relative errors ``measured / predicted - 1`` of a window, made before it was seen."""
        limits = self.limits()
        if limits is not None and len(errors):
            self.miss = adapted(self.miss, share_outside(errors, limits), RATE)
        self.errors = np.concatenate([self.errors, errors.astype(np.float32)])[-KEPT_ERRORS:]

    def to_json(self) -> dict[str, Any]:
        """JSON value; inverse of ``from_json``."""
        return {"errors": pack(self.errors), "miss": self.miss}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ConformalBand:
        """A band from ``to_json``."""
        band = cls()
        band.errors, band.miss = unpack(value["errors"]), value["miss"]
        return band


def total_band(parts: Any, relative_errors: Any) -> tuple[float, float]:
    """The 90 % band of a total, such as energy [kWh] or carbon [kg], predicted part by part (window by window).

    Args:
        parts: predicted parts of the total, shape (n,).
        relative_errors: ``measured / predicted - 1`` of past parts, shape (m,); NaN entries are left out.

    Errors of neighbouring parts go together, so that they average out more slowly than independent ones: their
    autocovariances enter (Newey and West, ``m ** (1/3)`` lags). The error of the mean error itself is added. With
    fewer than three past errors the band is (-inf, inf): nothing is known.
    """
    parts = np.asarray(parts, np.float64)
    errors = np.asarray(relative_errors, np.float64)
    errors = errors[np.isfinite(errors)]
    if len(errors) < 3:
        return -np.inf, np.inf
    total = float(parts.sum())
    centred = errors - errors.mean()
    lags = min(int(np.ceil(len(errors) ** (1 / 3))), len(errors) - 1, max(len(parts) - 1, 0))
    covariance = [float(centred[lag:] @ centred[: len(centred) - lag]) / len(errors) for lag in range(lags + 1)]
    variance = covariance[0] * float(parts @ parts)
    for lag in range(1, lags + 1):
        tapered = 1 - lag / (lags + 1)
        variance += 2 * tapered * covariance[lag] * float(parts[lag:] @ parts[: len(parts) - lag])
    long_run = covariance[0] + 2 * sum((1 - lag / (lags + 1)) * covariance[lag] for lag in range(1, lags + 1))
    variance = max(variance, 0.0) + max(long_run, 0.0) / len(errors) * total**2
    half = NORMAL_90 * float(np.sqrt(variance))
    centre = total * (1 + float(errors.mean()))
    return centre - half, centre + half
