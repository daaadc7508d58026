"""Bayesian search: a Gaussian process over what was told, expected improvement for what to ask.

References: [1] J. Snoek, H. Larochelle, R. P. Adams, "Practical Bayesian optimization of machine learning algorithms",
NeurIPS 2012, arXiv:1206.2944; [2] D. Ginsbourger, R. Le Riche, L. Carraro, "Kriging is well-suited to parallelize
optimization", 2010, doi:10.1007/978-3-642-10701-6_6 (parallel asks by a constant liar).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from opendt.calibration.samplers.base import Parameters, Sampler
from opendt.calibration.space import Choice, Dimension, Space
from opendt.calibration.threads import single_threaded
from opendt.errors import ConfigError

INITIAL_PER_DIMENSION = 3
CANDIDATES = 2_000


class BayesianSampler(Sampler):
    """scikit-optimize's optimiser with a Gaussian process and expected improvement.

    The first points are a Latin hypercube. A point asked and not yet told counts as if it had come out like the best so
    far ("constant liar"), so that parallel asks differ. Failed trials are not fitted; points near them may be asked
    again, since nothing is known about the score there.
    """

    name = "bayesian"

    def __init__(self, space: Space, seed: int = 0, initial: int | None = None) -> None:
        super().__init__(space, seed)
        from skopt import Optimizer
        from skopt.utils import cook_estimator, normalize_dimensions

        self._fixed = {d.path: d.values[0] for d in space.dimensions if isinstance(d, Choice) and len(d.values) == 1}
        self._free = [d for d in space.dimensions if d.path not in self._fixed]
        if not self._free:
            raise ConfigError("a space without any choice needs no search. Give at least one range.")
        dimensions = [_dimension(d) for d in self._free]
        # One start of the kernel's optimiser instead of three: as good here, and a third of the time.
        process = cook_estimator(
            "GP", space=normalize_dimensions(dimensions), random_state=seed, n_restarts_optimizer=0
        )
        count = initial or max(4, INITIAL_PER_DIMENSION * len(self._free))
        self._optimizer: Any = Optimizer(
            dimensions,
            base_estimator=process,
            acq_func="EI",
            n_initial_points=count,
            initial_point_generator="lhs",
            random_state=seed,
            acq_optimizer="sampling",
            acq_optimizer_kwargs={"n_points": CANDIDATES},
        )
        self._pending: list[list[Any]] = []
        self._told: list[tuple[list[Any], float]] = []  # not yet fitted: a batch needs only one fit
        self._rng = np.random.default_rng(seed)

    @single_threaded
    def ask(self, count: int = 1) -> list[Parameters]:
        """``count`` different points; together they take each other into account."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimiser warns of points it has seen and of kernels at a bound
            self._fit()
            wanted = count + len(self._pending)
            points = (
                [self._optimizer.ask()]  # one fit; the strategy for several would fit a lie for nothing
                if wanted == 1
                else self._optimizer.ask(n_points=wanted, strategy="cl_min")
            )
        fresh = [list(p) for p in points if list(p) not in self._pending][:count]
        while len(fresh) < count:
            fresh.append(self._optimizer.space.rvs(random_state=int(self._rng.integers(2**31)))[0])
        self._pending += fresh
        return [self._named(point) for point in fresh]

    def _named(self, point: list[Any]) -> Parameters:
        free = {d.path: _plain(v) for d, v in zip(self._free, point, strict=True)}
        return {d.path: self._fixed.get(d.path, free.get(d.path)) for d in self.space.dimensions}

    def _learn(self, parameters: Parameters, score: float | None) -> None:
        point = [parameters[d.path] for d in self._free]
        if point in self._pending:
            self._pending.remove(point)
        if score is not None:
            self._told.append((point, float(score)))

    def _fit(self) -> None:
        if self._told:
            points, scores = zip(*self._told, strict=True)
            self._optimizer.tell(list(points), list(scores))
            self._told = []


def _dimension(dimension: Dimension) -> Any:
    from skopt.space import Categorical
    from skopt.space import Real as SkoptReal

    if isinstance(dimension, Choice):
        return Categorical(list(dimension.values))
    prior = "log-uniform" if dimension.log else "uniform"
    return SkoptReal(dimension.low, dimension.high, prior=prior)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
