"""A 90 % band for a calibrator that has none of its own, learned from its errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
from numpy.typing import NDArray

from opendt import metrics
from opendt.calibration.band import ConformalBand, Limits
from opendt.calibration.base import CalibrationOutcome, Calibrator, Prediction
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.engine.base import Occupancy
from opendt.errors import TerminalError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology

F64 = NDArray[np.float64]


def with_band(prediction: Prediction, limits: Limits | None) -> Prediction:
    """A prediction with a band of these relative limits around it; unchanged without limits."""
    if limits is None:
        return prediction
    low, high = (np.maximum(prediction.power_w * (1.0 + limit), 0.0) for limit in limits)
    return replace(prediction, band_low_w=low, band_high_w=high)


def relative_errors(predicted: Prediction, measured_w: F64) -> F64:
    """``measured / predicted - 1`` where there is a reading; ``measured_w`` [W] at the samples of the prediction."""
    usable = np.isfinite(measured_w) & (measured_w > 0) & (predicted.power_w > 0)
    return np.asarray(measured_w[usable] / predicted.power_w[usable] - 1.0, np.float64)


class BandedCalibrator:
    """Another calibrator, with a band around what it predicts."""

    def __init__(self, inner: Calibrator, band: ConformalBand | None = None) -> None:
        self.method = inner.method
        self._inner = inner
        self._band = band or ConformalBand()

    def params_for(self, window_start_ms: int) -> CalibrationOutcome:
        """The inner outcome; its predictions carry the band."""
        outcome = self._inner.params_for(window_start_ms)
        if outcome.calibration_id is None:
            return outcome
        limits = self._band.limits()  # as they are now: the outcome outlives this moment
        return replace(outcome, predictor=lambda occupancy: with_band(outcome.predictor(occupancy), limits))

    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Compare with what the inner calibrator would have said before, then let it learn."""
        if occupancy is not None and len(occupancy.timestamp_ms):
            outcome = self._inner.params_for(int(occupancy.timestamp_ms[0]))
            if outcome.calibration_id is not None:
                measured_w = metrics.align(measured, occupancy.timestamp_ms, MAX_GAP_MS)
                errors = relative_errors(outcome.predict(occupancy), measured_w)
                if len(errors):
                    self._band.learn(errors)
        self._inner.observe(occupancy, measured)

    def use_topology(self, topology: Topology) -> None:
        """Go on under another topology."""
        self._inner.use_topology(topology)

    def to_bytes(self) -> bytes:
        """The inner state and the band, as JSON."""
        inner = orjson.loads(self._inner.to_bytes())
        return orjson.dumps({"inner": inner, "band": self._band.to_json()})


def split_state(state: bytes | None) -> tuple[bytes | None, ConformalBand | None]:
    """The inner calibrator's bytes and the band of ``BandedCalibrator.to_bytes``; ``TerminalError`` for others."""
    if state is None:
        return None, None
    data = orjson.loads(state)
    if "inner" not in data:
        raise TerminalError(
            f"the calibration state is of method {data.get('method')}. Resume with the settings of the run.",
            method=data.get("method"),
        )
    return orjson.dumps(data["inner"]), ConformalBand.from_json(data["band"])
