"""Which parameters the data can tell apart, and which are still what the datasheet says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.calibration.experts import ROUNDING
from opendt.calibration.layout import Layout

F64 = NDArray[np.float64]

KNOWN_BELOW = 0.5  # standard deviation after / before the data


def identifiability(layout: Layout, gram: F64, precision: F64, noise: float) -> dict[str, Any]:
    """How far measurements narrowed down idle power, step, load and shape of each host group.

    A quantity counts as identified when its standard deviation is at most half of what it was before any data (the
    datasheet prior); the others stay near the datasheet and are listed by name.

    Args:
        layout: what the coefficients mean.
        gram: discounted Gram matrix of the data [1/W^2], (size, size).
        precision: prior precision in the same scale, (size, size).
        noise: relative error of the measurements.
    """
    before = np.linalg.inv(precision)
    after = np.linalg.inv(gram + precision + np.diag(ROUNDING * np.diagonal(gram)))
    known: dict[str, float] = {}
    unknown: dict[str, float] = {}
    for name, contrast in _contrasts(layout).items():
        spread_before, spread_after = (_spread(contrast, covariance) * noise for covariance in (before, after))
        target = known if spread_after <= KNOWN_BELOW * spread_before else unknown
        target[name] = round(spread_after, 2)
    return {"known_sd_w": known, "not_identified_sd_w": unknown, "held_to": "datasheet prior"}


def _spread(contrast: F64, covariance: Any) -> float:
    return float(np.sqrt(max(float(contrast @ covariance @ contrast), 0.0)))


def _contrasts(layout: Layout) -> dict[str, F64]:
    """Quantities people ask about, as linear combinations of coefficients [W]."""
    found: dict[str, F64] = {}
    middle, last = layout.knots // 2, layout.knots - 1
    for g, name in enumerate(layout.names):
        levels, step = layout.levels(g).start, layout.step(g)
        idle, full, half, wake = (np.zeros(layout.size) for _ in range(4))
        idle[levels] = 1
        wake[step] = 1
        full[levels + last] = full[step] = 1
        half[levels + middle] = half[step] = 1
        found |= {f"{name} idle": idle, f"{name} step": wake, f"{name} half load": half, f"{name} full load": full}
    for g in range(1, len(layout.names)):
        pair = f"{layout.names[g]} against {layout.names[0]}, full load"
        found[pair] = found[f"{layout.names[g]} full load"] - found[f"{layout.names[0]} full load"]
    return found
