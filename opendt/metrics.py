"""How well a prediction matched a measurement: alignment, errors, persistence, bands.

All functions take columns and leave out what is missing (NaN in either series, measured power of 0 W or less where
a percentage is asked for). A score over nothing is an ``InputError``, never 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opendt.errors import InputError
from opendt.models.telemetry import PowerSeries
from opendt.units import MS_PER_DAY, MS_PER_HOUR

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

FIVE_MINUTES_MS = 300_000
PersistenceKind = Literal["last", "mean", "day"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Scores of one method. Percentages are 0-100; a positive bias means too much energy was predicted."""

    samples: int
    mape_pct: float
    mape_5min_pct: float
    mape_hourly_pct: float
    under_5_pct: float
    under_10_pct: float
    bias_pct: float
    band_coverage_pct: float | None = None
    band_width_pct: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of the fields."""
        return asdict(self)


def align(series: PowerSeries, at_ms: Any, max_gap_ms: int) -> F64:
    """Values [W] of a series at other times [epoch ms]; NaN where the series does not speak.

    A reading at exactly the time is taken as it is. Between two readings at most ``max_gap_ms`` apart the value is
    interpolated linearly; outside the series and inside longer gaps it is NaN. NaN readings count as absent.
    """
    at = np.asarray(at_ms, dtype=np.int64)
    known = np.isfinite(series.power_w)
    times, values = series.timestamp_ms[known], series.power_w[known]
    if len(times) == 0:
        return np.full(at.shape, np.nan)
    right = np.clip(np.searchsorted(times, at, side="left"), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    gap = times[right] - times[left]
    share = np.clip((at - times[left]) / np.maximum(gap, 1), 0.0, 1.0)
    between = values[left] + share * (values[right] - values[left])
    inside = (at > times[left]) & (at < times[right]) & (gap <= max_gap_ms)
    return np.where(times[right] == at, values[right], np.where(inside, between, np.nan))


def mape_pct(predicted: Any, measured: Any) -> float:
    """Mean absolute percentage error [%] of predicted against measured power.

    Raises ``InputError`` when no sample has both.
    """
    predicted, measured = _pairs(predicted, measured)
    return float(np.mean(np.abs(predicted - measured) / measured) * 100)


def share_under_pct(predicted: Any, measured: Any, limit_pct: float) -> float:
    """Share of samples [%] whose absolute percentage error is below a limit [%]."""
    predicted, measured = _pairs(predicted, measured)
    return float(np.mean(np.abs(predicted - measured) / measured * 100 < limit_pct) * 100)


def energy_bias_pct(predicted: Any, measured: Any) -> float:
    """(predicted - measured energy) / measured energy [%] over samples of equal length that have both."""
    predicted, measured = _pairs(predicted, measured)
    return float((predicted.sum() / measured.sum() - 1) * 100)


def bucket_means(timestamp_ms: Any, values: Any, bucket_ms: int) -> F64:
    """Mean of the finite values in each bucket of ``bucket_ms`` since the epoch, in order of time.

    One entry per bucket that has a timestamp; NaN where all its values are missing. Shape (buckets,).
    """
    buckets, index = np.unique(np.asarray(timestamp_ms) // bucket_ms, return_inverse=True)
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    total = np.bincount(index[known], values[known], minlength=len(buckets))
    count = np.bincount(index[known], minlength=len(buckets))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def mape_of_means_pct(timestamp_ms: Any, predicted: Any, measured: Any, bucket_ms: int) -> float:
    """MAPE [%] of bucket means; only samples that have both values enter a mean."""
    predicted, measured = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    both = np.isfinite(predicted) & np.isfinite(measured)
    times = np.asarray(timestamp_ms)[both]
    return mape_pct(bucket_means(times, predicted[both], bucket_ms), bucket_means(times, measured[both], bucket_ms))


def persistence(measured: PowerSeries, at_ms: Any, origin_ms: Any, kind: PersistenceKind = "last") -> F64:
    """Power [W] a forecaster without any model predicts for times [epoch ms], knowing only what is before an origin.

    Args:
        measured: readings; NaN readings count as absent.
        at_ms: times predicted for.
        origin_ms: the time each prediction is made, same shape or scalar; only readings strictly before it are used.
        kind: ``last`` holds the last reading, ``mean`` the mean of the hour before the origin, ``day`` the reading at
            the same time of the latest day that lies entirely before the origin (nearest reading within 15 minutes).

    Returns:
        NaN where there is nothing to hold.
    """
    at, origin = np.broadcast_arrays(np.asarray(at_ms, np.int64), np.asarray(origin_ms, np.int64))
    known = np.isfinite(measured.power_w)
    times, values = measured.timestamp_ms[known], measured.power_w[known]
    if len(times) == 0:
        return np.full(at.shape, np.nan)
    before = np.searchsorted(times, origin, side="left")
    if kind == "last":
        return np.where(before > 0, values[np.maximum(before - 1, 0)], np.nan)
    if kind == "mean":
        total = np.concatenate([[0.0], np.cumsum(values)])
        since = np.searchsorted(times, origin - MS_PER_HOUR, side="left")
        count = before - since
        return np.where(count > 0, (total[before] - total[since]) / np.maximum(count, 1), np.nan)
    days = np.maximum(np.ceil((at - origin + 1) / MS_PER_DAY), 1).astype(np.int64)
    return _nearest(times, values, at - days * MS_PER_DAY, origin, 900_000)


def _nearest(times: I64, values: F64, at: I64, origin: I64, tolerance_ms: int) -> F64:
    right = np.clip(np.searchsorted(times, at), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(times[left] - at) <= np.abs(times[right] - at), left, right)
    nearest = np.where(times[nearest] >= origin, left, nearest)
    usable = (np.abs(times[nearest] - at) <= tolerance_ms) & (times[nearest] < origin)
    return np.where(usable, values[nearest], np.nan)


def band_coverage_pct(low: Any, high: Any, measured: Any) -> float:
    """Share of samples [%] whose measured power lies within the band; samples without band are left out."""
    low, high, measured = _finite(low, high, measured)
    return float(np.mean((measured >= low) & (measured <= high)) * 100)


def band_width_pct(low: Any, high: Any, measured: Any) -> float:
    """Mean width of the band relative to measured power [%]."""
    low, high, measured = _finite(low, high, measured)
    return float(np.mean((high - low) / measured) * 100)


def accuracy(
    timestamp_ms: Any, predicted: Any, measured: Any, low: Any | None = None, high: Any | None = None
) -> Accuracy:
    """All scores of one prediction on raw samples [W] at ``timestamp_ms`` [epoch ms], all of shape (n,).

    Raises ``InputError`` when no sample has both a prediction and a measurement.
    """
    pairs = _pairs(predicted, measured)
    banded = low is not None and high is not None and bool(np.isfinite(np.asarray(low, np.float64)).any())
    return Accuracy(
        samples=len(pairs[0]),
        mape_pct=mape_pct(predicted, measured),
        mape_5min_pct=mape_of_means_pct(timestamp_ms, predicted, measured, FIVE_MINUTES_MS),
        mape_hourly_pct=mape_of_means_pct(timestamp_ms, predicted, measured, MS_PER_HOUR),
        under_5_pct=share_under_pct(predicted, measured, 5),
        under_10_pct=share_under_pct(predicted, measured, 10),
        bias_pct=energy_bias_pct(predicted, measured),
        band_coverage_pct=band_coverage_pct(low, high, measured) if banded else None,
        band_width_pct=band_width_pct(low, high, measured) if banded else None,
    )


def _pairs(predicted: Any, measured: Any) -> tuple[F64, F64]:
    predicted, measured = _finite(predicted, measured)
    return predicted, measured


def _finite(*columns: Any) -> tuple[F64, ...]:
    """Rows in which every column is finite and the last one (measured power) is above zero."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if len({a.shape for a in arrays}) > 1:
        raise InputError(f"series of different shapes {[a.shape for a in arrays]}; align them first.")
    keep = np.logical_and.reduce([np.isfinite(a) for a in arrays]) & (arrays[-1] > 0)
    if not keep.any():
        raise InputError("no overlap: no sample has both a predicted and a measured power. Check the time ranges.")
    return tuple(a[keep] for a in arrays)
