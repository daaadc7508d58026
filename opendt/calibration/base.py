"""The Calibrator protocol and its promises: how the twin uses calibration, once per window.

::

    calibrator = make_calibrator(settings.calibration, topology)         # or state=bytes to go on
    for window in windows:
        outcome = calibrator.params_for(window.start_ms)                 # knows nothing of this window
        result = engine.advance(...)                                     # what ran in the window
        prediction = outcome.predict(result.occupancy)                   # watts per sample, band if there is one
        rows = outcome.record, outcome.trials                            # tables calibrations, calibration_trials
        calibrator.observe(result.occupancy, readings_of_the_window)     # now it may learn
        checkpoint = calibrator.to_bytes()                               # together with the window's rows

Promises every calibrator keeps (``tests/calibration/conformance.py`` checks them):

1. Walk-forward: ``params_for(start)`` depends only on readings before ``start``; asking does not change the state.
2. Same observations, same outcome; a calibrator resumed from ``to_bytes`` continues exactly like the original.
3. ``params_for`` before any usable reading gives the topology's own power models and no record.
4. ``observe`` accepts any readings: none, NaN, gaps, times outside the window. What it leaves out it counts.
5. A trial that fails has a reason and no score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import PowerModel, Topology
from opendt.power.pricing import price

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted power of the whole datacenter per sample [W], each of shape (s,).

    ``power_w`` is at the instant of the sample, ``mean_w`` the average over the sample's interval (times its length
    it is the energy). The band holds 90 % of readings; None where no band is known yet.
    """

    power_w: F64
    mean_w: F64
    band_low_w: F64 | None = None
    band_high_w: F64 | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt: parameters and their score, or the reason why there is none."""

    parameters: dict[str, float]
    score_mape_pct: float | None
    reason: str | None = None
    duration_ms: float = 0.0

    @property
    def state(self) -> str:
        """``complete`` with a score, ``failed`` without."""
        return "complete" if self.score_mape_pct is not None else "failed"


@dataclass(frozen=True, slots=True)
class CalibrationOutcome:
    """What holds in one window, and on what evidence.

    Attributes:
        calibration_id: names the calibration; None while the topology's own parameters hold.
        models: power model per host group in the order of ``groups``; the nearest expressible one where the
            prediction is richer than a curve per host (``record`` says how near).
        groups: (cluster index, host type index) per model.
        predictor: occupancy of the coming window to power.
        record: row of table ``calibrations`` without run_id, datacenter, window_index and created_ms; None without
            calibration.
        trials: rows of table ``calibration_trials``, likewise.
    """

    calibration_id: str | None
    models: tuple[PowerModel, ...]
    groups: tuple[tuple[int, int], ...]
    predictor: Callable[[Occupancy], Prediction]
    record: dict[str, Any] | None = None
    trials: tuple[dict[str, Any], ...] = field(default=())

    def predict(self, occupancy: Occupancy) -> Prediction:
        """Power [W] of the coming window from what ran in it."""
        return self.predictor(occupancy)


class Calibrator(Protocol):
    """Learns a power model window by window. See the promises at the top of this module."""

    method: str

    def params_for(self, window_start_ms: int) -> CalibrationOutcome:
        """What to use in the window that starts at ``window_start_ms`` [epoch ms]."""

    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Learn from a window that is over: what ran, and every reading of power that arrived in it."""

    def use_topology(self, topology: Topology) -> None:
        """Go on under another topology, from the next window on."""

    def to_bytes(self) -> bytes:
        """Everything needed to go on, as JSON."""


def price_prediction(models: Sequence[PowerModel]) -> Callable[[Occupancy], Prediction]:
    """A predictor that prices an occupancy with one power model per host group, without a band."""

    def predict(occupancy: Occupancy) -> Prediction:
        return Prediction(price(occupancy, models), price(occupancy, models, mean=True))

    return predict


def calibration_record(
    calibration_id: str,
    method: str,
    curve: str,
    parameters: dict[str, Any],
    *,
    trained_from_ms: int,
    trained_until_ms: int,
    samples: int,
    score_mape_pct: float | None,
    duration_ms: float,
    excluded: dict[str, int] | None = None,
    heldout_mape_pct: float | None = None,
    active_heldout_mape_pct: float | None = None,
    published: bool = True,
    reason: str | None = None,
    identifiability: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A row of table ``calibrations``; names and units as in ``opendt.lake.schema``."""
    return {
        "calibration_id": calibration_id,
        "method": method,
        "curve": curve,
        "parameters_json": _json(parameters),
        "trained_from_ms": trained_from_ms,
        "trained_until_ms": trained_until_ms,
        "samples": samples,
        "excluded_json": _json(excluded or {}),
        "score_mape_pct": score_mape_pct,
        "heldout_mape_pct": heldout_mape_pct,
        "active_heldout_mape_pct": active_heldout_mape_pct,
        "published": published,
        "reason": reason,
        "identifiability_json": _json(identifiability or {}),
        "duration_ms": duration_ms,
    }


def trial_rows(
    calibration_id: str, sampler: str, trials: Sequence[Trial], *, from_ms: int, until_ms: int, seed: int, engine: str
) -> tuple[dict[str, Any], ...]:
    """Rows of table ``calibration_trials``."""
    return tuple(
        {
            "calibration_id": calibration_id,
            "trial": number,
            "sampler": sampler,
            "parameters_json": _json(trial.parameters),
            "state": trial.state,
            "score_mape_pct": trial.score_mape_pct,
            "reason": trial.reason,
            "from_ms": from_ms,
            "until_ms": until_ms,
            "seed": seed,
            "engine": engine,
            "duration_ms": trial.duration_ms,
        }
        for number, trial in enumerate(trials)
    )


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS).decode()
