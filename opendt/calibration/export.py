"""Learned coefficients as power models: monotone curves for our engine, the closest curve for OpenDC.

A learned curve may wiggle where few hosts ever stood; a power model may not. ``as_power_model`` therefore takes the
nearest non-negative, non-decreasing curve, weighted by how often each utilisation was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from opendt.calibration.layout import Layout
from opendt.models.topology import PowerModel
from opendt.power.curves import power_w

F64 = NDArray[np.float64]

OPENDC_SHAPES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("linear", {}),
    ("sqrt", {}),
    ("square", {}),
    ("cubic", {}),
    *(("mse", {"calibrationFactor": float(c)}) for c in (1.1, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 9.0)),
    *(
        ("asymptotic", {"asymUtil": float(a), "dvfs": dvfs})
        for a in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
        for dvfs in (False, True)
    ),
)


@dataclass(frozen=True, slots=True)
class Nearest:
    """OpenDC's closest curve and what is lost with it: mean absolute error [%] over the utilisations seen."""

    model: PowerModel
    loss_pct: float


def as_power_model(levels_w: F64, step_w: float, seen: F64) -> PowerModel:
    """A ``piecewise`` model of a learned curve.

    Args:
        levels_w: watts at evenly spaced utilisations, without the step.
        step_w: extra watts of a host that runs anything.
        seen: how many host samples stood at each utilisation; weights of the monotone fit.
    """
    watts = levels_w + np.where(np.arange(len(levels_w)) > 0, step_w, 0.0)
    weights = np.asarray(seen, np.float64)
    weights = weights + 1e-3 * max(float(weights.mean()), 1e-9)
    monotone = np.maximum(isotonic_regression(watts, weights=weights).x, 0.0)
    levels = tuple(round(float(w), 3) for w in monotone)
    return PowerModel(modelType="piecewise", idlePower=levels[0], maxPower=levels[-1], power=levels[-1], levels=levels)


def group_power_models(layout: Layout, coefficients: F64, seen: F64) -> tuple[PowerModel, ...]:
    """A power model per host group from coefficients [W] (size,) and host samples per level (groups, knots)."""
    return tuple(
        as_power_model(coefficients[layout.levels(g)], float(coefficients[layout.step(g)]), seen[g])
        for g in range(len(layout.groups))
    )


def nearest_opendc(model: PowerModel, seen: F64 | None = None) -> Nearest:
    """The curve OpenDC has that comes closest to a power model.

    Idle and maximum power of each of OpenDC's shapes are fitted in closed form; the best shape wins.

    Args:
        model: the model to export; OpenDC's own models come back as they are, with loss 0.
        seen: weight of each of ``len(seen)`` evenly spaced utilisations (how often hosts stood there); uniform by
            default.
    """
    if model.modelType not in ("active", "piecewise"):
        return Nearest(model, 0.0)
    weights = np.ones(65) if seen is None else np.asarray(seen, np.float64) + 1e-6 * max(float(np.sum(seen)), 1.0)
    at = np.linspace(0.0, 1.0, len(weights))
    wanted = power_w(model, at)
    candidates = [_fit(name, more, at, wanted, weights) for name, more in OPENDC_SHAPES]
    return min(candidates, key=lambda c: c.loss_pct)


def _fit(name: str, more: dict[str, Any], at: F64, wanted: F64, weights: F64) -> Nearest:
    unit = PowerModel.model_validate({"modelType": name, "idlePower": 0.0, "maxPower": 1.0, **more})
    design = np.stack([np.ones(len(at)), power_w(unit, at)], axis=1)
    relative = np.sqrt(weights) / np.maximum(wanted, 1e-9)
    found, *_ = np.linalg.lstsq(design * relative[:, None], wanted * relative, rcond=None)
    idle = max(float(found[0]), 0.0)
    span = max(float(found[1]), 0.0)
    model = PowerModel.model_validate(
        {"modelType": name, "idlePower": round(idle, 3), "maxPower": round(idle + span, 3), **more}
    )
    loss = np.average(np.abs(power_w(model, at) - wanted) / np.maximum(wanted, 1e-9), weights=weights)
    return Nearest(model, float(loss) * 100)
