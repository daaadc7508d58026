"""Calibrate on a stretch of recorded time: fit on its first part, decide on its last.

What ``opendt calibrate`` and the nightly flow do. The result is a topology with other power models, compared with the
active one on readings that neither saw, and OpenDC's closest curves where it lacks ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from opendt import metrics
from opendt.calibration.base import CalibrationOutcome, Trial, calibration_record, trial_rows
from opendt.calibration.decide import Verdict, compare_models
from opendt.calibration.evaluate import hourly
from opendt.calibration.export import Nearest, nearest_opendc
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.calibration.layout import CURVE_KNOTS
from opendt.calibration.online import OnlineCalibrator
from opendt.calibration.samplers import make_sampler
from opendt.calibration.search import (
    Objective,
    PricedObjective,
    SimulatedObjective,
    default_space,
    search,
    take_samples,
)
from opendt.calibration.space import Space, is_power_path, with_properties
from opendt.engine.base import Occupancy
from opendt.errors import ConfigError, InputError, OpenDTError, TerminalError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.power.pricing import group_models, price, topology_groups, with_group_models
from opendt.units import MS_PER_HOUR

METHODS = ("online", "bayesian", "random", "grid")
LEAST_TRAINING_H = 2

Simulate = Callable[[Sequence[Topology]], Sequence[PowerSeries | OpenDTError]]


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration found.

    Attributes:
        calibration_id: names it in the lake.
        method: online, bayesian, random or grid.
        topology: the calibrated topology.
        opendc_topology: the same with OpenDC's closest curves where it lacks ours.
        parameters: parameters chosen.
        exports: per host type, OpenDC's closest curve and the loss [%].
        trials: every attempt.
        verdict: comparison with the active model on held-out time; None when nothing was held out.
        record, rows: for tables ``calibrations`` and ``calibration_trials``.
    """

    calibration_id: str
    method: str
    topology: Topology
    opendc_topology: Topology
    parameters: dict[str, Any]
    exports: dict[str, Nearest]
    trials: tuple[Trial, ...]
    verdict: Verdict | None
    record: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    def summary(self) -> dict[str, Any]:
        """Plain values for people and ``--json``."""
        verdict = self.verdict
        return {
            "calibration_id": self.calibration_id,
            "method": self.method,
            "parameters": self.parameters,
            "trials": len(self.trials),
            "failed_trials": sum(t.score_mape_pct is None for t in self.trials),
            "training_mape_pct": self.record["score_mape_pct"],
            "heldout_mape_pct": verdict.heldout_mape_pct if verdict else None,
            "active_heldout_mape_pct": verdict.active_heldout_mape_pct if verdict else None,
            "publish": verdict.publish if verdict else False,
            "reason": verdict.reason if verdict else "nothing was held out to decide on",
            "opendc_curves": {
                name: {"model": n.model.model_dump(mode="json", exclude_defaults=True), "loss_pct": n.loss_pct}
                for name, n in self.exports.items()
            },
        }  # fmt: skip


def calibrate(
    topology: Topology,
    occupancy: Occupancy,
    measured: PowerSeries,
    *,
    method: str = "online",
    space: Space | None = None,
    trials: int = 40,
    batch: int = 8,
    points: int = 10,
    seed: int = 0,
    holdout_h: float = 24.0,
    simulate: Simulate | None = None,
    engine: str = "native",
    run_search: Callable[..., Any] = search,
) -> CalibrationReport:
    """Fit power-model parameters and decide whether they should replace the active ones.

    Args:
        topology: the active topology.
        occupancy: simulated occupancy of the time to learn from.
        measured: measured power of that time.
        method: ``online`` (curves by least squares) or a sampler: bayesian, random, grid.
        space: for samplers; the surroundings of the datasheet by default.
        trials, batch, points, seed: of the search; ``points`` per dimension for the grid. A Bayesian search that
            only prices asks one by one, which finds more with as many trials.
        holdout_h: hours at the end kept for the decision, at most half of the time; 0 for none.
        simulate: simulates topologies over the whole time, all of a batch in one call; needed for properties that
            change who runs where, and to let another engine score. By default trials only price ``occupancy``.
        engine: name of the engine behind ``simulate``.
        run_search: the loop between sampler and objective; a flow may bring one that fans out.

    Raises:
        InputError: too little measured power to learn from.
        ConfigError: unknown method, or a space that needs another objective.
        TerminalError: every trial failed.
    """
    if method not in METHODS:
        raise ConfigError(f"calibration method {method!r} is unknown; choose from {', '.join(METHODS)}.")
    started = time.perf_counter()
    training, heldout = _split(occupancy, measured, holdout_h)
    calibration_id = f"{method}-{int(occupancy.timestamp_ms[0])}-{int(occupancy.timestamp_ms[-1])}"
    if method == "online":
        found = _fit_online(topology, training, measured, seed)
    else:
        dimensions = space or default_space(topology)
        made = _objective(topology, training, measured, dimensions, simulate, engine)
        sampler = make_sampler(method, dimensions, seed, points)
        together = batch if simulate is not None or method != "bayesian" else 1  # pricing is cheap: learn from each
        result = run_search(sampler, made, trials, together)
        found = _fit_search(topology, result.trials, result.best, made.engine)
    verdict = _judge(topology, found, heldout, measured, simulate)
    exports = _exports(found.topology, training)
    record, rows = _rows(calibration_id, method, found, training, verdict, seed, (time.perf_counter() - started) * 1e3)
    closest = [exports[name].model for name in _names(found.topology)]
    return CalibrationReport(
        calibration_id, method, found.topology,
        with_group_models(found.topology, topology_groups(found.topology), closest),
        found.parameters, exports, found.trials, verdict, record, rows,
    )  # fmt: skip


@dataclass(frozen=True)
class _Found:
    topology: Topology
    parameters: dict[str, Any]
    trials: tuple[Trial, ...]
    score_mape_pct: float
    engine: str
    excluded: dict[str, int]
    identifiability: dict[str, Any]


def _split(occupancy: Occupancy, measured: PowerSeries, holdout_h: float) -> tuple[Occupancy, Occupancy | None]:
    watts = metrics.align(measured, occupancy.timestamp_ms, MAX_GAP_MS)
    known = np.flatnonzero(np.isfinite(watts))
    if len(known) == 0:
        raise InputError("no measured power falls into the simulated time; nothing to calibrate on.")
    times = np.asarray(occupancy.timestamp_ms)
    first, last = int(times[known[0]]), int(times[known[-1]])
    hold = min(int(holdout_h * MS_PER_HOUR), (last - first) // 2)
    if last - first - hold < LEAST_TRAINING_H * MS_PER_HOUR:
        raise InputError(
            f"only {(last - first) / MS_PER_HOUR:.1f} h of measured power; calibration needs at least "
            f"{2 * LEAST_TRAINING_H} h, half of it to decide on."
        )
    begin = last - hold
    training = take_samples(occupancy, (times >= first) & (times <= begin))
    return training, take_samples(occupancy, (times > begin) & (times <= last)) if hold else None


def _fit_online(topology: Topology, training: Occupancy, measured: PowerSeries, seed: int) -> _Found:
    calibrator = OnlineCalibrator(topology, seed)
    excluded: dict[str, int] = {}
    for _, occupancy, readings in hourly(training, measured):
        calibrator.observe(occupancy, readings)
        for word, count in calibrator.excluded.items():
            excluded[word] = excluded.get(word, 0) + count
    outcome: CalibrationOutcome = calibrator.params_for(int(training.timestamp_ms[-1]) + 1)
    if outcome.record is None:
        raise InputError("too few usable readings to learn from. Excluded: " + str(excluded))
    calibrated = with_group_models(topology, outcome.groups, outcome.models)
    watts = metrics.align(measured, training.timestamp_ms, MAX_GAP_MS)
    score = metrics.mape_pct(price(training, outcome.models), watts)
    trials, facts = calibrator.trials(), calibrator.identifiability()
    return _Found(calibrated, calibrator.parameters(), trials, score, "native", excluded, facts)


def _objective(
    topology: Topology,
    training: Occupancy,
    measured: PowerSeries,
    space: Space,
    simulate: Simulate | None,
    engine: str,
) -> Objective:
    if simulate is None:
        other = [d.path for d in space.dimensions if not is_power_path(d.path)]
        if other:
            raise ConfigError(f"{other[0]} changes who runs where: each trial needs a simulation.", path=other[0])
        return PricedObjective(topology, training, measured)
    times = np.asarray(measured.timestamp_ms)
    inside = (times >= training.timestamp_ms[0]) & (times <= training.timestamp_ms[-1])
    return SimulatedObjective(topology, simulate, PowerSeries(times[inside], measured.power_w[inside]), engine)


def _fit_search(topology: Topology, trials: Sequence[Trial], best: Trial | None, engine: str) -> _Found:
    if best is None or best.score_mape_pct is None:
        reasons = sorted({t.reason or "" for t in trials})
        raise TerminalError(f"every one of {len(trials)} trials failed: {'; '.join(reasons[:3])}", trials=len(trials))
    calibrated = with_properties(topology, best.parameters)
    return _Found(calibrated, dict(best.parameters), tuple(trials), best.score_mape_pct, engine, {}, {})


def _judge(
    topology: Topology, found: _Found, heldout: Occupancy | None, measured: PowerSeries, simulate: Simulate | None
) -> Verdict | None:
    """Both topologies on the held-out time: simulated where the parameters ask for it, else priced."""
    if heldout is None:
        return None
    watts = metrics.align(measured, heldout.timestamp_ms, MAX_GAP_MS)
    both = (found.topology, topology)
    if simulate is None:
        new, active = (price(heldout, group_models(t, heldout.groups)) for t in both)
    else:
        new, active = (_aligned(result, heldout) for result in simulate(both))
    return compare_models(heldout.timestamp_ms, new, active, watts)


def _aligned(result: PowerSeries | OpenDTError, heldout: Occupancy) -> Any:
    if isinstance(result, OpenDTError):
        raise result
    return metrics.align(result, heldout.timestamp_ms, MAX_GAP_MS)


def _names(topology: Topology) -> list[str]:
    return [f"{topology.clusters[c].name}/{topology.clusters[c].hosts[h].name}" for c, h in topology_groups(topology)]


def _exports(topology: Topology, training: Occupancy) -> dict[str, Nearest]:
    """OpenDC's closest curve per host type, weighted by where its hosts stood."""
    groups = topology_groups(topology)
    at = np.linspace(0.0, 1.0, CURVE_KNOTS)
    found = {}
    for g, (name, model) in enumerate(zip(_names(topology), group_models(topology, groups), strict=True)):
        seen = np.asarray(training.weights, np.float64)[:, g].sum(axis=0)
        spread = np.zeros(CURVE_KNOTS)
        np.add.at(spread, np.abs(at[None, :] - np.asarray(training.knots)[:, None]).argmin(axis=1), seen)
        found[name] = nearest_opendc(model, spread)
    return found


def _rows(
    calibration_id: str, method: str, found: _Found, training: Occupancy, verdict: Verdict | None, seed: int,
    duration_ms: float,
) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:  # fmt: skip
    from_ms, until_ms = int(training.timestamp_ms[0]), int(training.timestamp_ms[-1]) + 1
    curves = {m.modelType for m in group_models(found.topology, topology_groups(found.topology))}
    record = calibration_record(
        calibration_id, method, ", ".join(sorted(curves)), found.parameters,
        trained_from_ms=from_ms, trained_until_ms=until_ms, samples=len(training.timestamp_ms),
        score_mape_pct=found.score_mape_pct, duration_ms=duration_ms, excluded=found.excluded,
        heldout_mape_pct=verdict.heldout_mape_pct if verdict else None,
        active_heldout_mape_pct=verdict.active_heldout_mape_pct if verdict else None,
        published=bool(verdict and verdict.publish), reason=verdict.reason if verdict else "nothing was held out",
        identifiability=found.identifiability,
    )  # fmt: skip
    rows = trial_rows(
        calibration_id, method, found.trials, from_ms=from_ms, until_ms=until_ms, seed=seed, engine=found.engine
    )
    return record, rows
