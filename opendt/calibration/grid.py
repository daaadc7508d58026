"""OpenDT's published protocol: each window, a grid over one property; the best so far holds in the next window.

Facts of the protocol (atlarge-research/opendt, ``services/calibrator`` and ``config/experiments/experiment_2.yaml``):
evenly spaced values rounded to two decimals (10 values from 3 to 9 of ``cpuPowerModel.calibrationFactor``), the whole
workload simulated with each, MAPE against measured power over the last 60 minutes, lowest MAPE wins, the first of
equals. Ours differs in that a simulation is priced with all values at once, and that every raw sample counts where
theirs interpolates both series to full minutes. ``history_windows`` widens the comparison (0: everything so far).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from opendt import metrics
from opendt.calibration.base import CalibrationOutcome, Trial, calibration_record, price_prediction, trial_rows
from opendt.calibration.off import uncalibrated
from opendt.calibration.space import is_power_path, reason_of, with_properties
from opendt.engine.base import Occupancy
from opendt.errors import ConfigError, OpenDTError, TerminalError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.power.pricing import group_models, price_many, topology_groups

F64 = NDArray[np.float64]

MAX_READING_GAP_MS = 600_000


@dataclass(frozen=True, slots=True)
class WindowScore:
    """Sum of absolute percentage errors of every grid value over one window's samples."""

    from_ms: int
    until_ms: int
    samples: int
    excluded: int
    error_sum_pct: tuple[float | None, ...]


class GridCalibrator:
    """A grid over one power-model property, scored per window."""

    method = "grid"

    def __init__(
        self,
        topology: Topology,
        path: str = "cpuPowerModel.calibrationFactor",
        low: float = 3.0,
        high: float = 9.0,
        points: int = 10,
        history_windows: int = 1,
        seed: int = 0,
        state: bytes | None = None,
    ) -> None:
        if not is_power_path(path):
            raise ConfigError(
                f"calibration.parameter {path}: per window only cpuPowerModel properties can be calibrated; "
                "others need a new simulation per value: use `opendt calibrate`.",
                path=path,
            )
        self._path = path
        self._values = tuple(round(float(v), 2) for v in np.linspace(low, high, points))
        self._history = history_windows
        self._seed = seed
        self._scores: list[WindowScore] = []
        self.use_topology(topology)
        if state is not None:
            self._restore(state)

    def use_topology(self, topology: Topology) -> None:
        """Try the values on another topology from now on; scores so far keep counting."""
        self._topology = topology
        self._variants: list[Topology | str] = [self._variant(value) for value in self._values]
        if all(isinstance(v, str) for v in self._variants):
            raise ConfigError(f"calibration.parameter {self._path}: {self._variants[0]}", path=self._path)

    def _variant(self, value: float) -> Topology | str:
        try:
            return with_properties(self._topology, {self._path: value})
        except OpenDTError as error:
            return reason_of(error)

    def params_for(self, window_start_ms: int) -> CalibrationOutcome:
        """The value with the lowest error over the history, the topology's own before any reading."""
        started = time.perf_counter()
        scores = [s for s in self._scores if s.until_ms <= window_start_ms]
        scores = scores[-self._history :] if self._history else scores
        samples = sum(s.samples for s in scores)
        if samples == 0:
            return uncalibrated(self._topology)
        trials = [self._trial(i, scores, samples) for i in range(len(self._values))]
        complete = [i for i, t in enumerate(trials) if t.score_mape_pct is not None]
        if not complete:
            return uncalibrated(self._topology)
        best = min(complete, key=lambda i: (trials[i].score_mape_pct or 0.0, i))
        return self._outcome(best, trials, scores, window_start_ms, (time.perf_counter() - started) * 1e3)

    def _trial(self, index: int, scores: list[WindowScore], samples: int) -> Trial:
        parameters = {self._path: self._values[index]}
        variant = self._variants[index]
        if isinstance(variant, str):
            return Trial(parameters, None, variant)
        sums = [s.error_sum_pct[index] for s in scores]
        if any(s is None for s in sums):
            return Trial(parameters, None, "could not be priced in an earlier window")
        return Trial(parameters, sum(s for s in sums if s is not None) / samples)

    def _outcome(
        self, best: int, trials: list[Trial], scores: list[WindowScore], window_start_ms: int, duration_ms: float
    ) -> CalibrationOutcome:
        variant = self._variants[best]
        assert isinstance(variant, Topology)
        groups = topology_groups(variant)
        models = group_models(variant, groups)
        calibration_id = f"grid-{window_start_ms}"
        from_ms, until_ms = scores[0].from_ms, scores[-1].until_ms
        record = calibration_record(
            calibration_id, self.method, models[0].modelType, trials[best].parameters,
            trained_from_ms=from_ms, trained_until_ms=until_ms, samples=sum(s.samples for s in scores),
            score_mape_pct=trials[best].score_mape_pct, duration_ms=duration_ms,
            excluded={"missing": sum(s.excluded for s in scores)}, reason="lowest error on the history",
        )  # fmt: skip
        rows = trial_rows(
            calibration_id, "grid", trials, from_ms=from_ms, until_ms=until_ms, seed=self._seed, engine="native"
        )
        return CalibrationOutcome(calibration_id, models, groups, price_prediction(models), record, rows)

    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Score every grid value on a window that is over."""
        if occupancy is None or len(occupancy.timestamp_ms) == 0:
            return
        watts = metrics.align(measured, occupancy.timestamp_ms, MAX_READING_GAP_MS)
        usable = np.isfinite(watts) & (watts > 0)
        sums: list[float | None] = [None] * len(self._values)
        priced = [i for i, v in enumerate(self._variants) if isinstance(v, Topology)]
        models = [group_models(v, occupancy.groups) for v in self._variants if isinstance(v, Topology)]
        predicted = price_many(occupancy, models)[usable].astype(np.float64)
        errors = np.abs(predicted - watts[usable, None]) / watts[usable, None] * 100
        for column, index in enumerate(priced):
            total = float(errors[:, column].sum())
            sums[index] = total if np.isfinite(total) else None
        times = np.asarray(occupancy.timestamp_ms)
        self._scores.append(
            WindowScore(
                int(times[0]), int(times[-1]) + 1, int(usable.sum()), int((~usable).sum()), tuple(sums)
            )
        )  # fmt: skip
        if self._history:
            self._scores = self._scores[-self._history :]

    def to_bytes(self) -> bytes:
        """Grid and scores as JSON."""
        return orjson.dumps({"method": self.method, "path": self._path, "values": self._values, "scores": self._scores})

    def _restore(self, state: bytes) -> None:
        data: dict[str, Any] = orjson.loads(state)
        if data.get("path") != self._path or tuple(data.get("values", ())) != self._values:
            raise TerminalError(
                "the calibration state was written with another grid. Resume with the settings of the run.",
                path=data.get("path"),
            )
        self._scores = [WindowScore(**s | {"error_sum_pct": tuple(s["error_sum_pct"])}) for s in data["scores"]]
