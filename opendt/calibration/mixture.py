"""How much each expert counts: weights that would have been best on past one-step-ahead errors.

References: [1] J. M. Bates, C. W. J. Granger, "The combination of forecasts", OR 20 (1969), doi:10.1057/jors.1969.103;
[2] L. Breiman, "Stacked regressions", Machine Learning 24 (1996), doi:10.1007/BF00117832 (non-negative weights).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from opendt.calibration.state import pack, unpack
from opendt.units import MS_PER_HOUR

F64 = NDArray[np.float64]

HALF_LIFE_H = 24.0
SHRINKAGE = 0.5  # towards equal weights, relative to each expert's own error
SUM_TO_ONE = 100.0


class Mixture:
    """Discounted products of the experts' relative errors, and the weights that follow from them."""

    def __init__(self, experts: int) -> None:
        self.products: F64 = np.zeros((experts, experts))

    def forget(self, elapsed_ms: int) -> None:
        """Let time pass [ms]."""
        self.products *= 0.5 ** (elapsed_ms / MS_PER_HOUR / HALF_LIFE_H)

    def add(self, errors: F64, weight: F64) -> None:
        """Add relative errors (experts, n) made one step ahead, with robust weights (n,)."""
        self.products += (errors * weight) @ errors.T

    def weights(self) -> F64:
        """Non-negative weights that sum to one: least expected squared error, shrunk towards equal weights."""
        count = len(self.products)
        trace = float(np.trace(self.products))
        if trace <= 0:
            return np.full(count, 1.0 / count)
        scaled = self.products / trace * count
        scaled = scaled + SHRINKAGE * np.diag(np.diag(scaled)) + 1e-9 * np.eye(count)
        root = np.linalg.cholesky(scaled).T
        design = np.vstack([root, np.full((1, count), SUM_TO_ONE)])
        found, _ = nnls(design, np.concatenate([np.zeros(count), [SUM_TO_ONE]]))
        return np.asarray(found / found.sum(), np.float64)

    def to_json(self) -> dict[str, Any]:
        """JSON value; inverse of ``from_json``."""
        return pack(self.products)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Mixture:
        """A mixture from ``to_json``."""
        mixture = cls(0)
        mixture.products = unpack(value)
        return mixture
