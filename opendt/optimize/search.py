"""Random and Bayesian search by ask and tell: samplers choose points, ``Trials`` simulates, neither knows the other."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from opendt.errors import TopologyError
from opendt.optimize.changes import apply_changes
from opendt.optimize.proposal import Proposal
from opendt.optimize.space import Point, Space, make_space
from opendt.optimize.trials import Problem, Trial, Trials, conclude

VIOLATION_WEIGHT = 10.0  # how much a unit of shortfall outweighs a unit of score
FAILED_VALUE = 100.0  # what the model behind the Bayesian sampler is told of a point without result
MODEL_POINTS = 25  # of a budget that the model chooses; between them come neighbours of the best
GP_MOST_POINTS = 100  # beyond, the model is extra trees: a Gaussian process grows too slow
REDRAWS = 30
HISTORY_POINTS = 3  # of earlier proposals tried again
# The last field of the paths that a dimension changes.
FIELDS: dict[str, tuple[str, ...]] = {
    "hosts": ("count",),
    "cores": ("coreCount", "cpuPowerModel"),
    "speed": ("coreSpeed", "cpuPowerModel"),
    "power_cap": ("coreSpeed", "cpuPowerModel"),
    "allocation": ("allocation",),
}


class Sampler(Protocol):
    """What to try next. It never simulates. ``ahead``: points it may give before it is told of the first."""

    ahead: int

    def ask(self) -> Point:
        """The next point."""

    def tell(self, point: Point, value: float, *, known: bool = False) -> None:
        """What came of it; lower is better. ``known`` when an earlier point amounted to the same variant."""


class RandomSampler:
    """Points drawn at random, after the start points."""

    ahead = 8

    def __init__(self, space: Space, seed: int, peak_cores: int) -> None:
        self._space = space
        self._start = space.start(peak_cores)
        self._generator = np.random.default_rng(seed)

    def ask(self) -> Point:
        return self._start.pop(0) if self._start else self._space.random(self._generator)

    def tell(self, point: Point, value: float, *, known: bool = False) -> None:
        """Nothing is learnt."""


class BayesianSampler:
    """scikit-optimize on the indices of the space; between its answers, neighbours of the best point so far.

    Choosing a point costs the model some 0.05 s, often more than simulating it. So with large budgets only every n-th
    point is the model's, and a point it has asked for before is replaced by a neighbour of the best.
    """

    def __init__(self, space: Space, seed: int, peak_cores: int, budget: int) -> None:
        from skopt import Optimizer
        from skopt.space import Categorical, Integer

        self._space = space
        self._generator = np.random.default_rng(seed)
        self._start = space.start(peak_cores)
        self._every = self.ahead = max(1, budget // MODEL_POINTS)
        self._seen: set[Point] = set()
        self._told = 0
        self._best: tuple[float, Point] | None = None
        self._optimizer = Optimizer(
            [
                Categorical(list(range(len(d.values)))) if d.kind == "allocation" else Integer(0, len(d.values) - 1)
                for d in space.dimensions
            ],
            base_estimator="GP" if budget <= GP_MOST_POINTS else "ET",
            n_initial_points=min(max(3, budget // 5), 20),
            random_state=seed,
            acq_func="EI",
            acq_optimizer="sampling",
            acq_optimizer_kwargs={"n_points": 2000},
        )

    def ask(self) -> Point:
        if self._start:
            return self._remember(self._start.pop(0))
        if self._told % self._every == 0:
            with _quiet():
                point = tuple(int(i) for i in self._optimizer.ask())
            if point not in self._seen:
                return self._remember(point)
        for _ in range(REDRAWS):
            point = self._neighbour()
            if point not in self._seen:
                return self._remember(point)
        return self._remember(self._space.random(self._generator))

    def tell(self, point: Point, value: float, *, known: bool = False) -> None:
        self._told += not known
        if self._best is None or value < self._best[0]:
            self._best = value, point
        with _quiet():
            self._optimizer.tell(list(point), value, fit=not known and self._told % self._every == 0)

    def _remember(self, point: Point) -> Point:
        self._seen.add(point)
        return point

    def _neighbour(self) -> Point:
        """The best point with one or two dimensions moved by a small step; large steps are rarer."""
        if self._best is None:
            return self._space.random(self._generator)
        point = list(self._best[1])
        moved = self._generator.choice(
            len(point), size=min(len(point), int(self._generator.integers(1, 3))), replace=False
        )
        for at in moved:
            most = len(self._space.dimensions[at].values) - 1
            step = 1 + int(self._generator.exponential(max(1.0, most / 30)))
            point[at] = int(np.clip(point[at] + step * self._generator.choice([-1, 1]), 0, most))
        return tuple(point)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the sampler's warnings, on one thread: its matrices are too small to share out."""
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


def make_sampler(name: str, space: Space, seed: int, peak_cores: int, budget: int) -> Sampler:
    """The sampler of this name: ``random`` or ``bayesian``. ``peak_cores``: most cores the baseline used at once."""
    if name == "random":
        return RandomSampler(space, seed, peak_cores)
    return BayesianSampler(space, seed, peak_cores, budget)


def search(name: str, problem: Problem, budget: int) -> tuple[Proposal, Trials]:
    """Spend the budget on points of the space; the best becomes the proposal.

    The same problem, budget and seed give the same proposal. Points already tried or beyond the limits cost nothing.
    """
    started = time.monotonic()
    space = make_space(problem.model, problem.limits, problem.settings)
    trials = Trials(problem, budget)
    if space.dimensions:
        _retry(space, trials)
        peak = problem.baseline.outcome.peak_cores
        _explore(make_sampler(name, space, problem.settings.seed, peak, budget), space, trials)
    nothing = (
        "every host type is fixed: there is nothing to vary" if not space.dimensions else "the search found nothing"
    )
    details = {"dimensions": {d.name: [d.values[0], d.values[-1]] for d in space.dimensions}, "points": space.size}
    return conclude(trials, name, started, lambda best: _reasons(trials, best), nothing, details), trials


def _retry(space: Space, trials: Trials) -> None:
    """Try the best earlier proposals again that this search may make: what was good before is a good start."""
    varied = {kind for d in space.dimensions for kind in FIELDS[d.kind]}
    known: list[tuple[dict[str, Any], Any]] = []
    for entry in trials.problem.history:
        changes, allocation = entry["changes"], entry["allocation"]
        wanted = {path.rpartition("].")[2].split(".")[0 if "cpuPowerModel" in path else -1] for path in changes}
        if not wanted <= varied or (allocation and "allocation" not in varied) or (changes, allocation) in known:
            continue
        try:
            fits = not space.limits.broken(apply_changes(space.base, changes))
        except TopologyError:
            continue
        if fits:
            known.append((changes, allocation))
    trials.attempt_many(known[: min(HISTORY_POINTS, trials.left)])


def _explore(sampler: Sampler, space: Space, trials: Trials) -> None:
    known: dict[str, float] = {}
    batch = min(sampler.ahead, trials.problem.evaluator.workers)
    redraws = REDRAWS
    while trials.left > 0 and redraws > 0:
        fresh: list[tuple[str, Point, tuple[Any, Any]]] = []
        while len(fresh) < min(batch, trials.left) and redraws > 0:
            point = sampler.ask()
            variant = space.changes(point)
            key = repr(variant)
            if key not in known and space.limits.broken(apply_changes(space.base, variant[0])):
                known[key] = FAILED_VALUE
            if key in known:
                redraws -= 1
                sampler.tell(point, known[key], known=True)
            elif key in {taken for taken, _, _ in fresh}:
                redraws -= 1
            else:
                redraws = REDRAWS
                fresh.append((key, point, variant))
        made = trials.attempt_many([variant for _, _, variant in fresh]) if fresh else []
        for (key, point, _), trial in zip(fresh, made, strict=True):
            known[key] = _value(trials, trial)
            sampler.tell(point, known[key])


def _value(trials: Trials, trial: Trial) -> float:
    """One number for the sampler: score plus weighted shortfall; a constant for a trial without result."""
    if trial.simulated is None:
        return FAILED_VALUE
    missing, score = trials.problem.rank(trial.simulated.outcome)
    return min(FAILED_VALUE, score + VIOLATION_WEIGHT * missing)


def _reasons(trials: Trials, best: Trial) -> tuple[str, ...]:
    evaluation = trials.problem.evaluation(best.simulated) if best.simulated else None
    missed = [f"{c.metric} {c.delta_ratio:+.0%}" for c in evaluation.checks if not c.met] if evaluation else []
    met = "meets every objective" if not missed else f"comes closest to the objectives (missed: {', '.join(missed)})"
    return f"best of {len(trials.tried)} simulated variants: {met}", *summary(trials, best)


def summary(trials: Trials, best: Trial) -> tuple[str, ...]:
    """What the change amounts to, in words."""
    assert best.simulated is not None
    before, after = trials.problem.topology, best.simulated.topology
    said: list[str] = []
    if after.host_count != before.host_count:
        said.append(f"{after.host_count} hosts instead of {before.host_count}")
    if after.core_count != before.core_count:
        peak = trials.problem.baseline.outcome.peak_cores
        said.append(f"{after.core_count} cores; at most {peak} were in use at once")
    if best.allocation:
        said.append(f"allocation policy {best.allocation.get('policyName', best.allocation)}")
    speeds = _speeds(after)
    if speeds != _speeds(before):
        said.append("core speeds " + ", ".join(f"{s:g} MHz" for s in speeds))
    return tuple(said)


def _speeds(topology: Any) -> list[float]:
    return [host.cpu.coreSpeed for cluster in topology.clusters for host in cluster.hosts]
