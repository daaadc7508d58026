"""Grid and random search."""

from __future__ import annotations

import itertools
import math

import numpy as np

from opendt.calibration.samplers.base import Parameters, Sampler
from opendt.calibration.space import Choice, Dimension, Real, Space


class GridSampler(Sampler):
    """Every combination of ``points`` evenly spaced values per real dimension and all values of choices, once."""

    name = "grid"

    def __init__(self, space: Space, seed: int = 0, points: int = 10) -> None:
        super().__init__(space, seed)
        axes = [_axis(dimension, points) for dimension in space.dimensions]
        self._left = itertools.product(*axes)
        self.total = math.prod(len(axis) for axis in axes)

    def ask(self, count: int = 1) -> list[Parameters]:
        """The next combinations; none when all were asked."""
        return [self.name_values(values) for values in itertools.islice(self._left, count)]

    def _learn(self, parameters: Parameters, score: float | None) -> None:
        """The order is fixed."""


class RandomSampler(Sampler):
    """Independent uniform draws (uniform in the logarithm where the dimension says so)."""

    name = "random"

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(space, seed)
        self._rng = np.random.default_rng(seed)

    def ask(self, count: int = 1) -> list[Parameters]:
        """``count`` fresh draws."""
        return [self.name_values([self._draw(d) for d in self.space.dimensions]) for _ in range(count)]

    def _learn(self, parameters: Parameters, score: float | None) -> None:
        """Draws are independent."""

    def _draw(self, dimension: Dimension) -> object:
        if isinstance(dimension, Choice):
            return dimension.values[int(self._rng.integers(len(dimension.values)))]
        return _between(dimension, float(self._rng.random()))


def _axis(dimension: Dimension, points: int) -> list[object]:
    if isinstance(dimension, Choice):
        return list(dimension.values)
    return [_between(dimension, share) for share in np.linspace(0.0, 1.0, points)]


def _between(dimension: Real, share: float) -> float:
    """The value at a share of the range, never outside it by rounding."""
    if dimension.log:
        value = math.exp(math.log(dimension.low) + share * (math.log(dimension.high) - math.log(dimension.low)))
    else:
        value = dimension.low + share * (dimension.high - dimension.low)
    return min(max(value, dimension.low), dimension.high)
