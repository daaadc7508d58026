"""Bayesian calibration per window: every few windows, a search over datasheet parameters on the last day's readings.

Slower and less exact than online calibration, but its result is a datasheet: idle power, maximum power and exponent
that OpenDC understands. The search runs when a window is over; its winner holds from the next window on.
"""

from __future__ import annotations

import base64
import time
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson

from opendt.calibration.base import CalibrationOutcome, Trial, calibration_record, price_prediction, trial_rows
from opendt.calibration.off import uncalibrated
from opendt.calibration.samplers import make_sampler
from opendt.calibration.search import PricedObjective, default_space, join_occupancies, search
from opendt.calibration.space import Space, is_power_path, with_properties
from opendt.calibration.state import pack, unpack
from opendt.engine.base import Occupancy
from opendt.errors import ConfigError, InputError, TerminalError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.power.pricing import group_models, topology_groups


class BayesianCalibrator:
    """Searches a space of power-model properties again and again on a sliding history."""

    method = "bayesian"

    def __init__(
        self,
        topology: Topology,
        space: Space | None = None,
        trials: int = 40,
        every_windows: int = 6,
        history_windows: int = 24,
        seed: int = 0,
        state: bytes | None = None,
    ) -> None:
        self._given_space = space
        self._trials, self._every, self._history = trials, every_windows, history_windows
        self._seed = seed
        self._windows: list[tuple[Occupancy, PowerSeries]] = []
        self._seen = 0
        self._best: dict[str, Any] | None = None
        self._found: dict[str, Any] = {}
        self._duration_ms = 0.0
        self.use_topology(topology)
        if state is not None:
            self._restore(state)

    def use_topology(self, topology: Topology) -> None:
        """Calibrate another topology from now on; its history begins anew where the host types differ."""
        space = self._given_space or default_space(topology)
        other = [d.path for d in space.dimensions if not is_power_path(d.path)]
        if other:
            raise ConfigError(
                f"calibration.space {other[0]}: per window only cpuPowerModel properties can be calibrated; "
                "others need a new simulation per trial: use `opendt calibrate`.",
                path=other[0],
            )
        groups = topology_groups(topology)
        if self._windows and tuple(self._windows[0][0].groups) != groups:
            self._windows, self._best, self._found = [], None, {}
        self._topology, self._space = topology, space

    def params_for(self, window_start_ms: int) -> CalibrationOutcome:
        """The winner of the last search; the topology as given before the first."""
        if self._best is None:
            return uncalibrated(self._topology)
        topology = with_properties(self._topology, self._best)
        groups = topology_groups(topology)
        models = group_models(topology, groups)
        calibration_id = f"bayesian-{self._found['until_ms']}"
        predictor = price_prediction(models)
        if not self._found["fresh"]:
            return CalibrationOutcome(calibration_id, models, groups, predictor)
        trials = [Trial(**t) for t in self._found["trials"]]
        record = calibration_record(
            calibration_id, self.method, models[0].modelType, self._best,
            trained_from_ms=self._found["from_ms"], trained_until_ms=self._found["until_ms"],
            samples=self._found["samples"], score_mape_pct=self._found["score"],
            duration_ms=self._duration_ms, reason=f"best of {len(trials)} trials on the history",
        )  # fmt: skip
        rows = trial_rows(
            calibration_id, "bayesian", trials, from_ms=self._found["from_ms"], until_ms=self._found["until_ms"],
            seed=self._seed, engine="native",
        )  # fmt: skip
        return CalibrationOutcome(calibration_id, models, groups, predictor, record, rows)

    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Keep the window; search when it is time."""
        self._found["fresh"] = False
        if occupancy is None or len(occupancy.timestamp_ms) == 0:
            return
        self._windows = [*self._windows, (occupancy, measured)][-self._history :]
        self._seen += 1
        if self._best is None or self._seen % self._every == 0:
            self._search()

    def _search(self) -> None:
        started = time.perf_counter()
        occupancy = join_occupancies([w for w, _ in self._windows])
        times = np.concatenate([m.timestamp_ms for _, m in self._windows])
        watts = np.concatenate([m.power_w for _, m in self._windows])
        order = np.argsort(times, kind="stable")
        try:
            objective = PricedObjective(self._topology, occupancy, PowerSeries(times[order], watts[order]))
        except InputError:
            return  # no reading yet
        sampler = make_sampler("bayesian", self._space, self._seed + self._seen)
        result = search(sampler, objective, self._trials, batch=1)  # pricing is cheap: learn from every trial
        if result.best is None:
            return
        self._best = result.best.parameters
        self._found = {
            "fresh": True,
            "from_ms": objective.from_ms,
            "until_ms": objective.until_ms,
            "samples": objective.samples,
            "score": result.best.score_mape_pct,
            "trials": [asdict(t) | {"duration_ms": 0.0} for t in result.trials],  # state holds no wall time
        }
        self._duration_ms = (time.perf_counter() - started) * 1e3

    def to_bytes(self) -> bytes:
        """Winner and history as JSON."""
        windows = [{"occupancy": _pack_occupancy(o), "power": _pack_power(m)} for o, m in self._windows]
        paths = [d.path for d in self._space.dimensions]
        state = {"method": self.method, "paths": paths, "seen": self._seen, "best": self._best, "found": self._found}
        return orjson.dumps(state | {"windows": windows})

    def _restore(self, state: bytes) -> None:
        data: dict[str, Any] = orjson.loads(state)
        if data.get("method") != self.method or data.get("paths") != [d.path for d in self._space.dimensions]:
            raise TerminalError(
                f"the calibration state is of method {data.get('method')} over {data.get('paths')}. "
                "Resume with the settings of the run.",
                method=data.get("method"),
            )
        self._seen, self._best, self._found = data["seen"], data["best"], data["found"]
        self._windows = [(_unpack_occupancy(w["occupancy"]), _unpack_power(w["power"])) for w in data["windows"]]


def _pack_occupancy(occupancy: Occupancy) -> dict[str, Any]:
    """Weights are mostly zeros: compressed they take a tenth."""
    weights = np.ascontiguousarray(occupancy.weights, np.float32)
    return {
        "timestamp_ms": pack(np.asarray(occupancy.timestamp_ms, np.int64)),
        "knots": pack(np.asarray(occupancy.knots, np.float64)),
        "groups": [list(g) for g in occupancy.groups],
        "weights": base64.b64encode(zlib.compress(weights.tobytes(), 6)).decode(),
        "shape": list(weights.shape),
        "active_hosts": pack(np.asarray(occupancy.active_hosts)),
    }


def _unpack_occupancy(value: dict[str, Any]) -> Occupancy:
    raw = np.frombuffer(zlib.decompress(base64.b64decode(value["weights"])), np.float32)
    weights = raw.reshape(value["shape"])
    groups = tuple((int(c), int(h)) for c, h in value["groups"])
    return Occupancy(
        unpack(value["timestamp_ms"]), unpack(value["knots"]), groups, weights, weights, unpack(value["active_hosts"])
    )


def _pack_power(power: PowerSeries) -> dict[str, Any]:
    times, watts = np.asarray(power.timestamp_ms, np.int64), np.asarray(power.power_w, np.float64)
    return {"timestamp_ms": pack(times), "power_w": pack(watts)}


def _unpack_power(value: dict[str, Any]) -> PowerSeries:
    return PowerSeries(unpack(value["timestamp_ms"]), unpack(value["power_w"]))
