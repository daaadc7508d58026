"""What is sure about energy and emission: 90 % bands per window and over a run, from the errors of windows before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.calibration.band import total_band
from opendt.calibration.base import Prediction
from opendt.twin.samples import Samples

F64 = NDArray[np.float64]

KEPT_WINDOWS = 336  # two weeks of hours
LEAST_MEASURED = 0.5  # share of a window's samples that need a reading for its error to count


@dataclass(slots=True)
class EnergyErrors:
    """Relative errors ``measured / simulated - 1`` of the energy of past windows, each predicted before it was seen.

    Those made before the first calibration say nothing of windows after it, but are part of a run's total.
    """

    relative: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    calibrated: bool = False

    def learn(self, samples: Samples, prediction: Prediction, measured_w: F64, *, calibrated: bool) -> None:
        """Add a window's error; windows with few readings say nothing."""
        if calibrated != self.calibrated:
            self.before, self.relative = [*self.before, *self.relative][-KEPT_WINDOWS:], []
            self.calibrated = calibrated
        known = np.isfinite(measured_w)
        if not len(known) or known.mean() < LEAST_MEASURED:
            return
        seconds = samples.interval_s[known]
        simulated_j = float(prediction.mean_w[known] @ seconds)
        if simulated_j > 0:
            error = float(measured_w[known] @ seconds) / simulated_j - 1
            self.relative = [*self.relative[1 - KEPT_WINDOWS :], error]

    def band(self, energy: Any, *, whole_run: bool = False) -> tuple[float, float] | None:
        """Ends of the 90 % band of the sum of simulated energies, shape (n,), as ratios to it; None if unknown.

        Emission is energy times an intensity that is given, so that its band has the same ratios.
        """
        energy = np.asarray(energy, np.float64)
        total = float(energy.sum())
        low, high = total_band(energy, self.before + self.relative if whole_run else self.relative)
        if total <= 0 or not np.isfinite(low + high):
            return None
        return max(low, 0.0) / total, max(high, 0.0) / total

    def bounds(self, energy: Any, names: dict[str, float], *, whole_run: bool = False) -> dict[str, float | None]:
        """``<name>_low_<unit>`` and ``<name>_high_<unit>`` for totals by ``<name>_<unit>``; None where unknown."""
        found = self.band(energy, whole_run=whole_run)
        bounds: dict[str, float | None] = {}
        for column, value in names.items():
            name, _, unit = column.rpartition("_")
            for end, ratio in zip(("low", "high"), found or (None, None), strict=True):
                bounds[f"{name}_{end}_{unit}"] = None if ratio is None else value * ratio
        return bounds
