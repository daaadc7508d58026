"""The default calibrator: learns watts per host from every window and predicts the next with a band.

Per window, from what ran in it (``layout.py``): experts with different memories price it (``experts.py``), a mixture
of them that did best so far (``mixture.py``) is corrected by the errors of the last hour (``residual.py``) and gets a
band (``band.py``). Readings that cannot be believed are left out (``hygiene.py``); a lasting change of the cluster is
found (``drift.py``) and what was learned before it is rescaled and mostly forgotten. Everything a window's prediction
uses was fixed before the window began.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from opendt.calibration.band import ConformalBand
from opendt.calibration.base import CalibrationOutcome, Prediction, Trial, calibration_record, trial_rows
from opendt.calibration.drift import DriftDetector, DriftEvent, describe_drift
from opendt.calibration.experts import EXPERTS, SLOW, Memory, predict_all
from opendt.calibration.export import group_power_models
from opendt.calibration.hygiene import Held, inspect
from opendt.calibration.identify import identifiability
from opendt.calibration.layout import Layout, make_layout
from opendt.calibration.mixture import Mixture
from opendt.calibration.off import uncalibrated
from opendt.calibration.residual import Corrector, Tail, features
from opendt.calibration.threads import single_threaded
from opendt.engine.base import Occupancy
from opendt.errors import TerminalError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

STATE_VERSION = 1
FIRST_NOISE = 0.02
LEAST_NOISE = 0.001
LEAST_SAMPLES = 20
ROBUST = 1.5  # errors beyond this many usual errors count less (Huber)
KEEP_AFTER_DRIFT = 0.05


@dataclass(frozen=True)
class OnlinePredictor:
    """Everything a prediction needs, fixed before the window begins."""

    layout: Layout
    coefficients: F64  # (experts, size) [W]
    weights: F64  # (experts,)
    correction: F64
    tail: Tail
    limits: tuple[float, float] | None

    def experts(self, occupancy: Occupancy) -> F64:
        """Power [W] by each expert, shape (experts, s)."""
        instant, mean = (self.layout.features(occupancy, mean=m) for m in (False, True))
        return np.maximum(predict_all(self.coefficients, instant, mean), 0.0)

    def corrected(self, timestamp_ms: I64, mixed_w: F64) -> F64:
        """Power [W] after the correction of the mixture's prediction."""
        return np.maximum(mixed_w * (1.0 + features(self.tail, timestamp_ms, mixed_w) @ self.correction), 0.0)

    @single_threaded
    def __call__(self, occupancy: Occupancy) -> Prediction:
        """Power and band of a window."""
        power = self.corrected(np.asarray(occupancy.timestamp_ms), self.weights @ self.experts(occupancy))
        if self.limits is None:
            return Prediction(power, power)
        low, high = (np.maximum(power * (1.0 + limit), 0.0) for limit in self.limits)
        return Prediction(power, power, low, high)


class OnlineCalibrator:
    """Learns window by window. ``drifts`` lists the changes of the cluster found so far."""

    method = "online"

    def __init__(self, topology: Topology, seed: int = 0, state: bytes | None = None) -> None:
        self._topology = topology
        self._layout = make_layout(topology)
        self._seed = seed
        self._prior_w = self._layout.prior_w
        self._memory = Memory(self._layout.size)
        self._mixture = Mixture(len(EXPERTS))
        self._corrector = Corrector()
        self._band = ConformalBand()
        self._detector = DriftDetector()
        self._held = Held()
        self._noise = FIRST_NOISE
        self._samples = 0
        self._from_ms: int | None = None
        self._until_ms: int | None = None
        self._last: dict[str, Any] = {}
        self.drifts: list[DriftEvent] = []
        if state is not None:
            self._restore(state)

    @single_threaded
    def params_for(self, window_start_ms: int) -> CalibrationOutcome:
        """What is known before the window; the datasheet while that is next to nothing."""
        started = time.perf_counter()
        if self._samples < LEAST_SAMPLES:
            return uncalibrated(self._topology)
        predictor = self._predictor()
        calibration_id = f"online-{window_start_ms}"
        mixed = predictor.weights @ predictor.coefficients
        models = group_power_models(self._layout, mixed, self._seen())
        record = calibration_record(
            calibration_id, self.method, "piecewise", self._parameters(predictor, mixed),
            trained_from_ms=int(self._from_ms or 0), trained_until_ms=int(self._until_ms or 0), samples=self._samples,
            score_mape_pct=self._last.get("expert_pct"), heldout_mape_pct=self._last.get("mape_pct"),
            active_heldout_mape_pct=self._last.get("datasheet_pct"), excluded=self._last.get("excluded"),
            reason=self._reason(), identifiability=self.identifiability(),
            duration_ms=(time.perf_counter() - started) * 1e3,
        )  # fmt: skip
        rows = trial_rows(
            calibration_id, "online", self.trials(), from_ms=self._last.get("from_ms", 0),
            until_ms=int(self._until_ms or 0), seed=self._seed, engine="native",
        )  # fmt: skip
        return CalibrationOutcome(calibration_id, models, self._layout.groups, predictor, record, rows)

    def _predictor(self) -> OnlinePredictor:
        precision = self._layout.prior_precision(self._noise)
        return OnlinePredictor(
            self._layout,
            self._memory.solve(precision, self._prior_w),
            self._mixture.weights(),
            self._corrector.coefficients(),
            self._corrector.tail,
            self._band.limits(),
        )

    def _seen(self) -> F64:
        """Discounted host samples per level, shape (groups, knots): weights for monotone curves."""
        diagonal = np.diagonal(self._memory.gram[SLOW])[: len(self._layout.groups) * self._layout.knots]
        return np.asarray(diagonal, np.float64).reshape(len(self._layout.groups), self._layout.knots)

    def _parameters(self, predictor: OnlinePredictor, mixed: F64) -> dict[str, Any]:
        groups = {
            name: {
                "levels_w": np.round(mixed[self._layout.levels(g)][:: (self._layout.knots - 1) // 8], 2).tolist(),
                "step_w": round(float(mixed[self._layout.step(g)]), 2),
            }
            for g, name in enumerate(self._layout.names)
        }
        experts = {_name(i): round(float(w), 4) for i, w in enumerate(predictor.weights)}
        correction = [round(float(c), 4) for c in predictor.correction]
        return {
            "groups": groups,
            "experts": experts,
            "correction": correction,
            "noise_ratio": round(self._noise, 5),
            "drift": [event.to_dict() for event in self.drifts],
        }

    def _reason(self) -> str:
        if self.drifts and self.drifts[-1].found_ms + 1 == self._until_ms:
            return f"the cluster changed by {self.drifts[-1].size_pct:+.1f} %; what was learned before was rescaled"
        return "learned from every window so far"

    def identifiability(self) -> dict[str, Any]:
        """Which parameters the data can tell apart (``identify.py``)."""
        precision = self._layout.prior_precision(self._noise)
        gram = self._memory.gram[SLOW].astype(np.float64)
        return identifiability(self._layout, gram, precision, self._noise)

    def trials(self) -> tuple[Trial, ...]:
        """The experts as trials, with their error in the last window."""
        scores = self._last.get("experts_pct") or [None] * len(EXPERTS)
        return tuple(
            Trial({"half_life_h": e.half_life_h, "mean": float(e.mean)}, score, None if score else "no reading yet")
            for e, score in zip(EXPERTS, scores, strict=True)
        )

    @property
    def excluded(self) -> dict[str, int]:
        """Readings and samples of the last window that were left out, by reason."""
        return dict(self._last.get("excluded") or {})

    def parameters(self) -> dict[str, Any]:
        """What was learned, in watts per host."""
        predictor = self._predictor()
        return self._parameters(predictor, predictor.weights @ predictor.coefficients)

    @single_threaded
    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Learn from a window that is over."""
        if occupancy is None or len(occupancy.timestamp_ms) == 0:
            return
        times = np.asarray(occupancy.timestamp_ms, np.int64)
        known = self._samples >= LEAST_SAMPLES
        predictor = self._predictor()
        experts = predictor.experts(occupancy)
        mixed = predictor.weights @ experts
        final = predictor.corrected(times, mixed)
        seen = inspect(measured, times, final if known else None, self._noise, self._held)
        self._held = seen.held
        self._pass_time(int(times[-1]))
        use = np.isfinite(seen.measured_w) & (mixed > 0)
        self._last = {"excluded": seen.excluded}
        if use.any():
            window = _Window(occupancy, times, use, seen.measured_w[use], experts, mixed, final, predictor)
            self._learn(window, known)
        elif known:
            self._corrector.remember(times[:0], mixed[:0], mixed)

    def _pass_time(self, until_ms: int) -> None:
        elapsed = max(until_ms - self._until_ms, 0) if self._until_ms is not None else 0
        for part in (self._memory, self._mixture, self._corrector):
            part.forget(elapsed)
        self._until_ms = until_ms + 1

    def _learn(self, w: _Window, known: bool) -> None:
        instant, mean = (self._layout.features(w.occupancy, mean=m)[w.use] for m in (False, True))
        expected = w.mixed[w.use] if known else np.full(len(w.watts), float(np.median(w.watts)))
        if known:
            expected = expected * self._look_for_drift(w)
        error = w.watts / expected - 1.0
        weight = np.minimum(1.0, ROBUST * self._noise / np.maximum(np.abs(error), 1e-12)) if known else 1.0
        if known:
            self._score(w, np.asarray(weight))
        self._memory.add(instant, mean, w.watts, np.broadcast_to(weight, expected.shape) / expected**2)
        self._samples += len(w.watts)
        self._from_ms = int(w.times[0]) if self._from_ms is None else self._from_ms
        self._update_noise(error if known else self._first_error(instant, mean, w.watts), known)
        if known:
            self._corrector.remember(w.times[w.use], error, w.mixed)

    def _first_error(self, instant: F64, mean: F64, watts: F64) -> F64:
        fitted = predict_all(self._predictor().coefficients, instant, mean).mean(axis=0)
        return watts / np.maximum(fitted, 1e-9) - 1.0

    def _update_noise(self, error: F64, known: bool) -> None:
        usual = max(1.4826 * float(np.median(np.abs(error))), LEAST_NOISE)
        if known:
            usual = float(np.sqrt(0.9 * self._noise**2 + 0.1 * min(usual, 3 * self._noise) ** 2))
        self._noise = usual

    def _score(self, w: _Window, weight: F64) -> None:
        """Everything that is learned from errors of predictions made before the window."""
        errors = w.experts[:, w.use] / w.watts - 1.0
        self._mixture.add(errors, weight)
        columns = features(w.predictor.tail, w.times, w.mixed)[w.use]
        relative = w.watts / w.mixed[w.use] - 1.0
        self._corrector.add(columns, relative, weight / self._noise**2)
        final = w.final[w.use]
        self._band.learn(w.watts / np.maximum(final, 1e-9) - 1.0)
        datasheet = self._layout.features(w.occupancy, mean=False)[w.use] @ self._layout.prior_w
        self._last |= {
            "from_ms": int(w.times[0]),
            "experts_pct": [float(np.mean(np.abs(e)) * 100) for e in errors],
            "expert_pct": float(np.mean(np.abs(w.mixed[w.use] / w.watts - 1)) * 100),
            "mape_pct": float(np.mean(np.abs(final / w.watts - 1)) * 100),
            "datasheet_pct": float(np.mean(np.abs(datasheet / w.watts - 1)) * 100),
        }

    def _look_for_drift(self, w: _Window) -> float:
        """Find a lasting change; rescale what was learned. Returns the factor by which the expectation changes."""
        slow = w.watts / np.maximum(w.experts[SLOW][w.use], 1e-9) - 1.0
        since = self._detector.update(w.times[w.use], slow)
        if since is None:
            return 1.0
        groups = self._layout.features(w.occupancy, mean=False)[w.use] * w.predictor.coefficients[SLOW]
        by_group = np.stack([self._group_power(groups, g) for g in range(len(self._layout.groups))], axis=1)
        event = describe_drift(since, int(w.times[-1]), w.times[w.use], slow, by_group, self._layout.names)
        self.drifts.append(event)
        after = w.times[w.use] >= since
        factors = np.array([float(np.median(w.watts[after] / e[w.use][after])) for e in w.experts])
        self._memory.rescale(factors, KEEP_AFTER_DRIFT)
        self._mixture.products *= KEEP_AFTER_DRIFT
        self._corrector.forget_errors()
        self._detector.restart()
        return float(w.predictor.weights @ factors)

    def _group_power(self, products: F64, group: int) -> F64:
        levels = products[:, self._layout.levels(group)].sum(axis=1)
        return np.asarray(levels + products[:, self._layout.step(group)], np.float64)

    @single_threaded
    def use_topology(self, topology: Topology) -> None:
        """Go on under another topology: the same host types keep what was learned, others start at their datasheet."""
        layout = make_layout(topology)
        if layout.names != self._layout.names or layout.groups != self._layout.groups:
            self._start_over(layout)
        self._topology, self._layout = topology, layout
        self._prior_w = layout.prior_w if self._samples < LEAST_SAMPLES else self._prior_w

    def _start_over(self, layout: Layout) -> None:
        """Other host types: what was learned about those that stay becomes the prior of a fresh memory."""
        prior = layout.prior_w.copy()
        if self._samples >= LEAST_SAMPLES:
            learned = self._predictor()
            mixed = learned.weights @ learned.coefficients
            for g, name in enumerate(layout.names):
                if name in self._layout.names:
                    old = self._layout.names.index(name)
                    prior[layout.levels(g)] = mixed[self._layout.levels(old)]
                    prior[layout.step(g)] = mixed[self._layout.step(old)]
        self._prior_w = prior
        self._memory = Memory(layout.size)
        self._corrector.forget_errors()
        self._detector.restart()

    def to_bytes(self) -> bytes:
        """Everything learned, as JSON."""
        state = {
            "version": STATE_VERSION,
            "method": self.method,
            "groups": self._layout.names,
            "prior_w": self._prior_w.tolist(),
            "memory": self._memory.to_json(),
            "mixture": self._mixture.to_json(),
            "corrector": self._corrector.to_json(),
            "band": self._band.to_json(),
            "detector": self._detector.to_json(),
            "held": [None if np.isnan(self._held.power_w) else self._held.power_w, self._held.since_ms],
            "noise": self._noise,
            "samples": self._samples,
            "from_ms": self._from_ms,
            "until_ms": self._until_ms,
            "last": self._last,
            "drifts": [event.to_dict() for event in self.drifts],
        }
        return orjson.dumps(state)

    def _restore(self, state: bytes) -> None:
        data: dict[str, Any] = orjson.loads(state)
        if data.get("method") != self.method or tuple(data.get("groups", ())) != self._layout.names:
            raise TerminalError(
                f"the calibration state is of method {data.get('method')} for host types {data.get('groups')}. "
                "Resume with the settings and the topology of the run.",
                method=data.get("method"),
            )
        self._prior_w = np.array(data["prior_w"])
        self._memory = Memory.from_json(data["memory"])
        self._mixture = Mixture.from_json(data["mixture"])
        self._corrector = Corrector.from_json(data["corrector"])
        self._band = ConformalBand.from_json(data["band"])
        self._detector = DriftDetector.from_json(data["detector"])
        power, since = data["held"]
        self._held = Held(float("nan") if power is None else power, since)
        self._noise, self._samples = data["noise"], data["samples"]
        self._from_ms, self._until_ms, self._last = data["from_ms"], data["until_ms"], data["last"]
        self.drifts = [DriftEvent(**event | {"hours": tuple(event["hours"])}) for event in data["drifts"]]


@dataclass(frozen=True)
class _Window:
    """A window that is over, and what was predicted for it before."""

    occupancy: Occupancy
    times: I64
    use: NDArray[np.bool_]
    watts: F64  # measured, where used
    experts: F64
    mixed: F64
    final: F64
    predictor: OnlinePredictor


def _name(index: int) -> str:
    expert = EXPERTS[index]
    return f"{expert.half_life_h:g} h {'mean' if expert.mean else 'instant'}"
