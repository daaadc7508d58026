"""Weighted least squares with exponential forgetting: a few experts that differ in memory and in what they look at.

Each expert keeps the sufficient statistics (Gram matrix and moments) of everything it has seen, discounted by a
half-life. Short memories follow a changing cluster, long ones average noise away; which is better is decided by their
past one-step-ahead errors (``mixture.py``), not by us.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from opendt.calibration.state import pack, pack_symmetric, unpack, unpack_symmetric
from opendt.units import MS_PER_HOUR

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

HALF_LIVES_H = (3.0, 24.0, 336.0)
# Single precision keeps a Gram matrix positive definite only up to this share of its diagonal; directions the data
# tells less about are held to the prior.
ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Expert:
    """A half-life [h] and whether it looks at interval means or at the instants of the samples."""

    half_life_h: float
    mean: bool


EXPERTS = tuple(Expert(h, mean) for h in HALF_LIVES_H for mean in (False, True))
SLOW = max(range(len(EXPERTS)), key=lambda i: (EXPERTS[i].half_life_h, -i))


class Memory:
    """Discounted sufficient statistics of all experts, kept in single precision so that state is small and exact."""

    def __init__(self, size: int) -> None:
        self.gram: F32 = np.zeros((len(EXPERTS), size, size), np.float32)
        self.moment: F32 = np.zeros((len(EXPERTS), size), np.float32)

    def forget(self, elapsed_ms: int) -> None:
        """Let time pass [ms]."""
        keep = np.array([0.5 ** (elapsed_ms / MS_PER_HOUR / e.half_life_h) for e in EXPERTS], np.float32)
        self.gram *= keep[:, None, None]
        self.moment *= keep[:, None]

    def add(self, instant: F64, mean: F64, power_w: F64, weight: F64) -> None:
        """Add samples: features (n, size) of both kinds, measured power [W] (n,) and weights [1/W^2] (n,)."""
        for kind, features in ((False, instant), (True, mean)):
            weighted = features * weight[:, None]
            gram, moment = weighted.T @ features, weighted.T @ power_w
            for i, expert in enumerate(EXPERTS):
                if expert.mean is kind:
                    self.gram[i] = (self.gram[i].astype(np.float64) + gram).astype(np.float32)
                    self.moment[i] = (self.moment[i].astype(np.float64) + moment).astype(np.float32)

    def rescale(self, factors: F64, keep: float) -> None:
        """Hosts draw ``factors`` (per expert) times what was learned, which counts only ``keep`` times as much."""
        self.gram *= np.float32(keep)
        self.moment *= (keep * factors).astype(np.float32)[:, None]

    def solve(self, precision: F64, prior_w: F64) -> F64:
        """Coefficients [W] of every expert, shape (experts, size)."""
        found = np.empty((len(EXPERTS), len(prior_w)))
        for i in range(len(EXPERTS)):
            gram, moment = self.gram[i].astype(np.float64), self.moment[i].astype(np.float64)
            held = precision + np.diag(ROUNDING * np.diagonal(gram))
            factor = cho_factor(gram + held, lower=True, check_finite=False)
            found[i] = cho_solve(factor, moment + held @ prior_w, check_finite=False)
        return found

    def to_json(self) -> dict[str, object]:
        """JSON value; inverse of ``from_json``."""
        return {"gram": pack_symmetric(self.gram), "moment": pack(self.moment)}

    @classmethod
    def from_json(cls, value: dict[str, dict[str, object]]) -> Memory:
        """A memory from ``to_json``."""
        memory = cls(0)
        memory.gram, memory.moment = unpack_symmetric(value["gram"]), unpack(value["moment"])
        return memory


def predict_all(coefficients: F64, instant: F64, mean: F64) -> F64:
    """Power [W] by every expert at every sample, shape (experts, n)."""
    return np.array([(mean if e.mean else instant) @ coefficients[i] for i, e in enumerate(EXPERTS)])
