"""A band for predictions that must hold for hours: learned from the errors of predictions that had to.

A week holds only seven windows of a day, too few to learn a band from: errors within one go together. So forecasts are
started at evenly spaced origins, eight at a time, and each is followed to the end of the lead (rolling origins, [1]).
Their errors fade with a half-life of a day (of a lead, if that is longer), and the quantiles are those of weighted
conformal prediction [2]: beside the errors seen one more is counted, of full weight and any size. Where the errors of
an hour go together, it stands for an hour [4], so that a band from few hours is wide. How much to leave outside adapts
to what the bands given at the origins missed [3], by as much per lead as the band for the next hour adapts per hour.

References: [1] L. J. Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of Forecasting 16
(2000), doi:10.1016/S0169-2070(00)00065-0; [2] R. F. Barber, E. J. Candès, A. Ramdas, R. J. Tibshirani, "Conformal
prediction beyond exchangeability", Annals of Statistics 51 (2023), arXiv:2202.13415; [3] I. Gibbs, E. Candès,
"Adaptive conformal inference under distribution shift", NeurIPS 2021, arXiv:2106.00170; [4] L. Kish, "Survey
Sampling", Wiley 1965 (design effect).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opendt import metrics
from opendt.calibration.band import COVERAGE, LEAST_ERRORS, LEAST_MISS, RATE, Limits, adapted, share_outside
from opendt.calibration.banded import relative_errors
from opendt.calibration.base import CalibrationOutcome, Calibrator
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries
from opendt.units import MS_PER_HOUR

F64 = NDArray[np.float64]

FORECASTS = 8  # at a time
KEPT_PER_HOUR = 12  # errors of each forecast
HALF_LIFE_H = 24
KEPT_HALF_LIVES = 7


@dataclass(frozen=True, slots=True)
class _Forecast:
    """A prediction on its way: the hour it was made [hours since the epoch], and the band it was given."""

    hour: int
    outcome: CalibrationOutcome
    limits: Limits | None


class LeadBand:
    """The band of windows of ``lead_h`` hours, from errors at all leads up to it."""

    def __init__(self, lead_h: int) -> None:
        self.lead_h = lead_h
        self.miss = 1.0 - COVERAGE
        self._spacing_h = max(1, lead_h // FORECASTS)
        self._half_life_h = max(HALF_LIFE_H, lead_h)
        self._forecasts: list[_Forecast] = []
        self._errors: deque[tuple[int, F64]] = deque()
        self._longest_h = 0

    def limits(self) -> Limits | None:
        """Relative error of measured against predicted power at the band's ends.

        None with too few errors, or with none from at least half the lead: short leads say too little of long ones.
        """
        if 2 * self._longest_h < self.lead_h or sum(len(e) for _, e in self._errors) < LEAST_ERRORS:
            return None
        values = np.concatenate([errors for _, errors in self._errors])
        counts = np.array([len(errors) for _, errors in self._errors])
        hours = np.array([hour for hour, _ in self._errors])
        weights = 0.5 ** ((hours[-1] - hours) / self._half_life_h)
        inside = (1.0 - self.miss) * (1.0 + 1.0 / independent_errors(values, counts, weights))
        miss = max(1.0 - inside, LEAST_MISS)
        low, high = weighted_quantiles(values, np.repeat(weights, counts), [miss / 2, 1 - miss / 2])
        return float(low), float(high)

    def follow(self, calibrator: Calibrator, start_ms: int, occupancy: Occupancy, measured: PowerSeries) -> None:
        """An hour that starts at ``start_ms`` [epoch ms] is over, of which the calibrator has seen nothing yet."""
        hour = start_ms // MS_PER_HOUR
        self._forecasts = [f for f in self._forecasts if hour - f.hour < self.lead_h]
        if not self._forecasts or hour // self._spacing_h != self._forecasts[-1].hour // self._spacing_h:
            outcome = calibrator.params_for(start_ms)
            if outcome.calibration_id is not None:
                self._forecasts.append(_Forecast(hour, outcome, self.limits()))
        measured_w = metrics.align(measured, occupancy.timestamp_ms, MAX_GAP_MS)
        found = [(f, relative_errors(f.outcome.predict(occupancy), measured_w)) for f in self._forecasts]
        found = [(forecast, errors) for forecast, errors in found if len(errors)]
        if found:
            self._learn(hour, found)

    def _learn(self, hour: int, found: list[tuple[_Forecast, F64]]) -> None:
        missed = [share_outside(errors, f.limits) for f, errors in found if f.limits is not None]
        if missed:
            self.miss = adapted(self.miss, float(np.mean(missed)), RATE / self.lead_h)
        kept = np.concatenate([errors[:: max(1, len(errors) // KEPT_PER_HOUR)] for _, errors in found])
        self._errors.append((hour, kept))
        self._longest_h = max(self._longest_h, hour + 1 - found[0][0].hour)
        while self._errors[0][0] <= hour - KEPT_HALF_LIVES * self._half_life_h:
            self._errors.popleft()


def independent_errors(values: F64, counts: NDArray[np.int64], weights: F64) -> float:
    """As how many independent errors of full weight errors of several hours count.

    Args:
        values: errors, shape (n,), hour after hour.
        counts: errors in each hour, shape (hours,).
        weights: weight of each hour, shape (hours,).

    Errors that only differ between hours count once per hour; where they differ within hours too, as many times more
    as their variance exceeds that of the means of hours (the design effect of clusters, [4]).
    """
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(values, starts) / counts
    centre = np.average(means, weights=weights)
    total = np.average(np.add.reduceat((values - centre) ** 2, starts) / counts, weights=weights)
    between = np.average((means - centre) ** 2, weights=weights)
    return float(weights.sum() * (total / between if between > 0 else 1.0))


def weighted_quantiles(values: F64, weights: F64, levels: list[float]) -> F64:
    """Quantiles of values, shape (n,), that count by their weights; linear between the middles of neighbours."""
    order = np.argsort(values, kind="stable")
    weights = weights[order]
    middles = np.cumsum(weights) - 0.5 * weights
    return np.interp(np.asarray(levels) * weights.sum(), middles, values[order])
