"""Ask and tell: a sampler says what to try next; whoever asks evaluates and tells the score.

Promises every sampler keeps (``tests/calibration/test_samplers.py``):

1. ``ask(n)`` returns at most ``n`` parameter sets within the space, all dimensions given; fewer when a finite sampler
   is exhausted, none when it is done. Asking again before telling gives other points (parallel asks).
2. ``tell`` takes a score (lower is better) or None for a failed trial, in any order. A failed trial never enters the
   ranking; no placeholder score is invented for it.
3. ``best`` is the lowest score told so far, the first of equals; None before any.
4. Same seed, same asks and tells, same points.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opendt.calibration.space import Space

Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Best:
    """The best trial so far."""

    parameters: Parameters
    score: float


class Sampler(ABC):
    """Chooses what to try; never evaluates. Not safe to share between threads: the loop that owns it asks and tells."""

    name: str

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space = space
        self.seed = seed
        self.best: Best | None = None

    @abstractmethod
    def ask(self, count: int = 1) -> list[Parameters]:
        """Up to ``count`` parameter sets to try next, path to value."""

    def tell(self, parameters: Mapping[str, Any], score: float | None) -> None:
        """The score of a trial, lower is better; None (or NaN) when it failed.

        Raises ``ConfigError`` for parameters outside the space.
        """
        self.space.check(parameters)
        failed = score is None or not math.isfinite(score)
        if not failed and (self.best is None or float(score or 0.0) < self.best.score):
            self.best = Best(dict(parameters), float(score or 0.0))
        self._learn(dict(parameters), None if failed else score)

    @abstractmethod
    def _learn(self, parameters: Parameters, score: float | None) -> None:
        """What a sampler makes of a result; ``score`` is None for a failed trial."""

    def name_values(self, values: Sequence[Any]) -> Parameters:
        """Values in the order of the space's dimensions, under their paths."""
        return {d.path: v for d, v in zip(self.space.dimensions, values, strict=True)}
