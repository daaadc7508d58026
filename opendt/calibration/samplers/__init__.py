"""Samplers with one interface: ``make_sampler(name, space, ...)``, then ask and tell."""

from __future__ import annotations

from opendt.calibration.samplers.base import Best, Parameters, Sampler
from opendt.calibration.samplers.bayesian import BayesianSampler
from opendt.calibration.samplers.simple import GridSampler, RandomSampler
from opendt.calibration.space import Space
from opendt.errors import ConfigError

__all__ = ["BayesianSampler", "Best", "GridSampler", "Parameters", "RandomSampler", "Sampler", "make_sampler"]


def make_sampler(name: str, space: Space, seed: int = 0, points: int = 10) -> Sampler:
    """A sampler by name: grid (``points`` per dimension), random or bayesian. Raises ``ConfigError`` for others."""
    if name == "grid":
        return GridSampler(space, seed, points)
    if name == "random":
        return RandomSampler(space, seed)
    if name == "bayesian":
        return BayesianSampler(space, seed)
    raise ConfigError(f"sampler {name!r} is unknown; choose grid, random or bayesian.", sampler=name)
