"""A 90 % band for a calibrator that has none of its own, learned from its errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson

from opendt import metrics
from opendt.calibration.band import ConformalBand
from opendt.calibration.base import CalibrationOutcome, Calibrator, Prediction
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.engine.base import Occupancy
from opendt.errors import TerminalError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology


def with_band(prediction: Prediction, band: ConformalBand) -> Prediction:
    """A prediction with the band's limits around it; unchanged while the band knows too little."""
    limits = band.limits()
    if limits is None:
        return prediction
    low, high = (np.maximum(prediction.power_w * (1.0 + limit), 0.0) for limit in limits)
    return replace(prediction, band_low_w=low, band_high_w=high)


def learn_band(band: ConformalBand, predicted: Prediction, occupancy: Occupancy, measured: PowerSeries) -> None:
    """Let a band learn from a window that is over."""
    watts = metrics.align(measured, occupancy.timestamp_ms, MAX_GAP_MS)
    usable = np.isfinite(watts) & (watts > 0) & (predicted.power_w > 0)
    if usable.any():
        band.learn(watts[usable] / predicted.power_w[usable] - 1.0)


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
        band = ConformalBand.from_json(self._band.to_json())  # as it is now: the outcome outlives this moment
        return replace(outcome, predictor=lambda occupancy: with_band(outcome.predictor(occupancy), band))

    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Compare with what the inner calibrator would have said before, then let it learn."""
        if occupancy is not None and len(occupancy.timestamp_ms):
            outcome = self._inner.params_for(int(occupancy.timestamp_ms[0]))
            if outcome.calibration_id is not None:
                learn_band(self._band, outcome.predict(occupancy), occupancy, measured)
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
