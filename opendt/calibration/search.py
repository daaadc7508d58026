"""Search over power-model parameters: objective functions and the loop between sampler and objective.

An objective scores a batch of parameter sets; how it gets its numbers is its own affair: ``PricedObjective`` prices one
simulated occupancy with all of them in one matrix product, ``SimulatedObjective`` simulates each topology (with the
OpenDC engine all of a batch in one JVM).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from opendt import metrics
from opendt.calibration.base import Trial
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.calibration.samplers import Parameters, Sampler
from opendt.calibration.space import Real, Space, is_power_path, reason_of, with_properties
from opendt.engine.base import Occupancy
from opendt.errors import ConfigError, InputError, OpenDTError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import PowerModel, Topology
from opendt.power.pricing import group_models, price_many

F64 = NDArray[np.float64]


class Objective(Protocol):
    """Scores parameter sets; a trial that cannot be scored comes back with a reason."""

    engine: str

    def score(self, batch: Sequence[Parameters]) -> list[Trial]:
        """One trial per parameter set, in order."""


class PricedObjective:
    """MAPE [%] of an occupancy priced with each parameter set, against measured power on raw samples."""

    engine = "native"

    def __init__(self, topology: Topology, occupancy: Occupancy, measured: PowerSeries) -> None:
        """Raises ``InputError`` when the measurements do not overlap the occupancy."""
        self._topology = topology
        watts = metrics.align(measured, occupancy.timestamp_ms, MAX_GAP_MS)
        use = np.isfinite(watts) & (watts > 0)
        if not use.any():
            raise InputError("no measured power falls into the simulated time; nothing to calibrate on.")
        self._occupancy = take_samples(occupancy, use)
        self._watts = watts[use]
        self.samples = int(use.sum())
        self.from_ms, self.until_ms = (int(self._occupancy.timestamp_ms[i]) for i in (0, -1))
        self.until_ms += 1

    def score(self, batch: Sequence[Parameters]) -> list[Trial]:
        """All parameter sets in one matrix product."""
        started = time.perf_counter()
        models = [self._models(parameters) for parameters in batch]
        good = [m for m in models if not isinstance(m, str)]
        errors = iter(self._errors(good).tolist() if good else [])
        trials = []
        for parameters, model in zip(batch, models, strict=True):
            if isinstance(model, str):
                trials.append(Trial(dict(parameters), None, model))
                continue
            error = next(errors)
            bad = None if np.isfinite(error) else "its power is not a number"
            trials.append(Trial(dict(parameters), None if bad else error, bad))
        each_ms = (time.perf_counter() - started) * 1e3 / max(len(batch), 1)
        return [Trial(t.parameters, t.score_mape_pct, t.reason, each_ms) for t in trials]

    def _models(self, parameters: Parameters) -> tuple[PowerModel, ...] | str:
        other = [path for path in parameters if not is_power_path(path)]
        if other:
            return f"{other[0]} changes who runs where; it needs a new simulation"
        try:
            return group_models(with_properties(self._topology, parameters), self._occupancy.groups)
        except OpenDTError as error:
            return reason_of(error)

    def _errors(self, models: Sequence[tuple[PowerModel, ...]]) -> F64:
        predicted = price_many(self._occupancy, models)
        return np.asarray(np.mean(np.abs(predicted / self._watts[:, None] - 1.0), axis=0) * 100, np.float64)


class SimulatedObjective:
    """MAPE [%] of a new simulation under each parameter set, for properties that change who runs where."""

    def __init__(
        self,
        topology: Topology,
        simulate: Callable[[Sequence[Topology]], Sequence[PowerSeries | OpenDTError]],
        measured: PowerSeries,
        engine: str,
    ) -> None:
        """``simulate`` turns topologies into simulated power (or the error that stopped one), in order."""
        self._topology = topology
        self._simulate = simulate
        self._measured = measured
        self.engine = engine

    def score(self, batch: Sequence[Parameters]) -> list[Trial]:
        """All topologies that are possible, simulated as one batch."""
        started = time.perf_counter()
        found: list[Any] = []
        for parameters in batch:
            try:
                found.append(with_properties(self._topology, parameters))
            except OpenDTError as error:
                found.append(reason_of(error))
        possible = [t for t in found if isinstance(t, Topology)]
        results = iter(self._simulate(possible) if possible else [])
        outcomes = [self._outcome(next(results)) if isinstance(t, Topology) else (None, t) for t in found]
        each_ms = (time.perf_counter() - started) * 1e3 / max(len(batch), 1)
        return [Trial(dict(p), score, reason, each_ms) for p, (score, reason) in zip(batch, outcomes, strict=True)]

    def _outcome(self, result: PowerSeries | OpenDTError) -> tuple[float | None, str | None]:
        if isinstance(result, OpenDTError):
            return None, reason_of(result)
        simulated = metrics.align(result, self._measured.timestamp_ms, MAX_GAP_MS)
        try:
            return metrics.mape_pct(simulated, self._measured.power_w), None
        except InputError as error:
            return None, reason_of(error)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """All trials in the order they were told, and the best of them (None when all failed)."""

    trials: tuple[Trial, ...]
    best: Trial | None


def search(sampler: Sampler, objective: Objective, budget: int, batch: int = 8) -> SearchResult:
    """Ask, score, tell until ``budget`` trials are spent or the sampler has nothing left.

    The loop is a convenience; anyone may own it, as long as every asked point is told.
    """
    trials: list[Trial] = []
    while len(trials) < budget:
        asked = sampler.ask(min(batch, budget - len(trials)))
        if not asked:
            break
        for trial in objective.score(asked):
            sampler.tell(trial.parameters, trial.score_mape_pct)
            trials.append(trial)
    complete = [t for t in trials if t.score_mape_pct is not None]
    return SearchResult(tuple(trials), min(complete, key=lambda t: t.score_mape_pct or 0.0) if complete else None)


def default_space(topology: Topology) -> Space:
    """Idle power, maximum power and mse exponent around the datasheet, for all host types together.

    With several host types one factor for all cannot be expressed by a path; each type gets its own dimensions.
    """
    hosts = [host for cluster in topology.clusters for host in cluster.hosts]
    names = [host.name for host in hosts]
    if len(set(names)) != len(names):
        raise ConfigError("host types need different names to be calibrated one by one. Rename them in the topology.")
    dimensions: list[Real] = []
    for host in hosts:
        prefix = f"{host.name}:" if len(hosts) > 1 else ""
        model = host.cpuPowerModel
        top = max(model.maxPower, 1.0)
        idle = max(model.idlePower, 0.02 * top)
        dimensions.append(Real(f"{prefix}cpuPowerModel.idlePower", 0.4 * idle, min(2.5 * idle, 0.9 * top)))
        dimensions.append(Real(f"{prefix}cpuPowerModel.maxPower", 0.7 * top, 1.5 * top))
        if model.modelType == "mse":
            dimensions.append(Real(f"{prefix}cpuPowerModel.calibrationFactor", 1.01, 12.0, log=True))
    return Space(tuple(dimensions))


def take_samples(occupancy: Occupancy, index: Any) -> Occupancy:
    """The samples of an occupancy selected by a mask, slice or index array."""
    return Occupancy(
        np.asarray(occupancy.timestamp_ms)[index],
        occupancy.knots,
        occupancy.groups,
        np.asarray(occupancy.weights)[index],
        np.asarray(occupancy.mean_weights)[index],
        np.asarray(occupancy.active_hosts)[index],
    )


def join_occupancies(parts: Sequence[Occupancy]) -> Occupancy:
    """Consecutive occupancies of the same groups and knots as one. Raises ``InputError`` for none or different ones."""
    if not parts:
        raise InputError("no occupancy to join; simulate at least one window.")
    first = parts[0]
    for part in parts:
        if tuple(part.groups) != tuple(first.groups) or len(part.knots) != len(first.knots):
            raise InputError("occupancies of different host groups or utilisation knots cannot be joined.")
    columns = ("timestamp_ms", "weights", "mean_weights", "active_hosts")
    joined = {c: np.concatenate([np.asarray(getattr(part, c)) for part in parts]) for c in columns}
    return Occupancy(knots=first.knots, groups=first.groups, **joined)
