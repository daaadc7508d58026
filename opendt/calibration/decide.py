"""Is the new model better than the one in force, beyond noise? Decided on readings neither was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt import metrics
from opendt.errors import InputError
from opendt.units import MS_PER_HOUR

F64 = NDArray[np.float64]

ONE_SIDED_95 = 1.6448536269514722
LEAST_GAIN_PCT = 0.05
LEAST_HOURS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """Held-out errors of both models, whether the new one should be published, and why (not).

    ``gain_pct`` is the mean error saved [points of MAPE], ``noise_pct`` how far that mean may be off by chance.
    """

    heldout_mape_pct: float
    active_heldout_mape_pct: float
    gain_pct: float
    noise_pct: float
    hours: int
    publish: bool
    reason: str


def compare_models(timestamp_ms: Any, new_w: F64, active_w: F64, measured_w: F64) -> Verdict:
    """Compare two predictions [W] on the same held-out samples.

    The errors saved are averaged by hour, since those of neighbouring samples go together; the mean over hours must
    exceed ``LEAST_GAIN_PCT`` and 1.64 times its standard error (one-sided, 95 %; hours up to three apart may still
    correlate).

    Raises ``InputError`` when nothing was measured.
    """
    usable = np.isfinite(measured_w) & (measured_w > 0)
    if not usable.any():
        raise InputError("no measured power in the held-out time; nothing to decide on.")
    times, real = np.asarray(timestamp_ms)[usable], measured_w[usable]
    new, active = (np.abs(w[usable] / real - 1) * 100 for w in (new_w, active_w))
    saved = metrics.bucket_means(times, active - new, MS_PER_HOUR)
    gain = float((active - new).mean())
    noise = ONE_SIDED_95 * _standard_error(saved)
    new_mape, active_mape = float(new.mean()), float(active.mean())
    enough = len(saved) >= LEAST_HOURS
    publish = enough and gain > max(LEAST_GAIN_PCT, noise)
    if not enough:
        reason = f"only {len(saved)} held-out hours; at least {LEAST_HOURS} are needed to decide"
    elif publish:
        reason = f"error {new_mape:.2f} % instead of {active_mape:.2f} % on {len(saved)} held-out hours, beyond noise"
    elif gain > 0:
        reason = f"saves {gain:.2f} points on held-out hours, which may be chance (up to {noise:.2f})"
    else:
        reason = f"error {new_mape:.2f} % on held-out hours is not better than {active_mape:.2f} % of the active model"
    return Verdict(new_mape, active_mape, gain, noise, len(saved), publish, reason)


def _standard_error(hourly: F64) -> float:
    """Standard error of the mean of correlated hourly values."""
    n = len(hourly)
    if n < 2:
        return float("inf")
    centred = hourly - hourly.mean()
    variance = float(centred @ centred) / n
    lags = min(3, n - 1)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag]) / n
    return float(np.sqrt(max(variance, 1e-12) / (n - 1)))
