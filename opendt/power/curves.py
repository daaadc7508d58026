"""Power curves: watts of one host from its utilisation. Pure functions on arrays.

Every function takes ``utilization``, the share of a host's processing capacity its tasks ask for [0-1, unitless;
demand beyond capacity counts as 1], scalar or array of any shape, and returns watts [W] of the same shape.

The curves of OpenDC come with its sources' names (``PowerModels`` in opendc-simulator-compute) and keep its
behaviour, oddities included; ``active`` and ``piecewise`` are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.models.topology import PowerModel

F64 = NDArray[np.float64]


def constant(utilization: Any, power_w: float) -> F64:
    """The same power [W] at every utilisation."""
    return np.full(np.shape(utilization), float(power_w))


def sqrt(utilization: Any, idle_w: float, max_w: float) -> F64:
    """``idle + (max - idle) * sqrt(u)``, u clamped to 0-1 [W]. Source: OpenDC."""
    return idle_w + (max_w - idle_w) * np.sqrt(_clamped(utilization))


def linear(utilization: Any, idle_w: float, max_w: float) -> F64:
    """``idle + (max - idle) * u``, u clamped to 0-1 [W].

    References: [1] X. Fan, W.-D. Weber, L. A. Barroso, "Power provisioning for a warehouse-sized computer",
    ISCA 2007, doi:10.1145/1250662.1250665.
    """
    return idle_w + (max_w - idle_w) * _clamped(utilization)


def square(utilization: Any, idle_w: float, max_w: float) -> F64:
    """``idle + (max - idle) * u^2``, u clamped to 0-1 [W]. Source: OpenDC."""
    return idle_w + (max_w - idle_w) * _clamped(utilization) ** 2


def cubic(utilization: Any, idle_w: float, max_w: float) -> F64:
    """``idle + (max - idle) * u^3``, u clamped to 0-1 [W]. Source: OpenDC."""
    return idle_w + (max_w - idle_w) * _clamped(utilization) ** 3


def mse(utilization: Any, idle_w: float, max_w: float, calibration_factor: float) -> F64:
    """``idle + (max - idle) * (2u - u^c)`` with calibration factor ``c`` [W].

    Exceeds ``max_w`` inside the range for c > 2 (largest at ``u = (2/c)^(1/(c-1))``); both ends are exact.
    Utilisation is not clamped above 0 in OpenDC; here a negative value (rounding of an emptied host) counts as 0,
    because a power of a negative number is not a number.

    References: [1] X. Fan et al. 2007, doi:10.1145/1250662.1250665 (there r = 1.4 fits best).
    """
    u = _not_negative(utilization)
    return idle_w + (max_w - idle_w) * (2.0 * u - u**calibration_factor)


def asymptotic(utilization: Any, idle_w: float, max_w: float, asym_util: float, dvfs: bool = True) -> F64:
    """``idle + (max - idle) / 2 * (1 + u - exp(-u / a))`` with asymptotic utilisation ``a`` [W].

    With ``dvfs`` (OpenDC's default) u is replaced by u^3. At u = 1 the value stays below ``max_w`` by
    ``(max - idle) / 2 * exp(-1/a)``.

    References: [1] OpenDC, ``asymptotic`` after A. Kansal et al., "Virtual machine power metering and provisioning",
    SoCC 2010, doi:10.1145/1807128.1807136.
    """
    u = _not_negative(utilization)
    if dvfs:
        u = u**3
    return idle_w + (max_w - idle_w) / 2.0 * (1.0 + u - np.exp(-u / asym_util))


def active(utilization: Any, idle_w: float, max_w: float, step_w: float = 0.0, quadratic_w: float = 0.0) -> F64:
    """``idle + step * [u > 0] + linear * u + quadratic * u^2``, with ``max_w`` reached at u = 1 [W].

    ``step_w`` is what waking up costs: a host that runs anything leaves its deepest sleep states. The linear
    coefficient is ``max - idle - step - quadratic``, so that the ends keep their meaning.
    """
    u = _clamped(utilization)
    slope_w = max_w - idle_w - step_w - quadratic_w
    return idle_w + step_w * (u > 0) + slope_w * u + quadratic_w * u**2


def piecewise(utilization: Any, levels_w: Any) -> F64:
    """Linear interpolation between ``levels_w`` [W] at utilisations evenly spaced from 0 to 1, clamped there."""
    levels = np.asarray(levels_w, dtype=np.float64)
    return np.interp(_clamped(utilization), np.linspace(0.0, 1.0, len(levels)), levels)


def _clamped(utilization: Any) -> F64:
    return np.clip(np.asarray(utilization, dtype=np.float64), 0.0, 1.0)


def _not_negative(utilization: Any) -> F64:
    return np.maximum(np.asarray(utilization, dtype=np.float64), 0.0)


_CURVES: dict[str, Callable[[PowerModel, Any], F64]] = {
    "constant": lambda m, u: constant(u, m.power),
    "sqrt": lambda m, u: sqrt(u, m.idlePower, m.maxPower),
    "linear": lambda m, u: linear(u, m.idlePower, m.maxPower),
    "square": lambda m, u: square(u, m.idlePower, m.maxPower),
    "cubic": lambda m, u: cubic(u, m.idlePower, m.maxPower),
    "mse": lambda m, u: mse(u, m.idlePower, m.maxPower, m.calibrationFactor),
    "asymptotic": lambda m, u: asymptotic(u, m.idlePower, m.maxPower, m.asymUtil, m.dvfs),
    "active": lambda m, u: active(u, m.idlePower, m.maxPower, m.stepPower, m.quadraticPower),
    "piecewise": lambda m, u: piecewise(u, m.levels),
}


def power_w(model: PowerModel, utilization: Any) -> F64:
    """Watts [W] of a host with this power model, same shape as ``utilization`` [0-1].

    >>> from opendt.models.topology import PowerModel
    >>> float(power_w(PowerModel(modelType="linear", idlePower=100, maxPower=200), 0.25))
    125.0
    """
    return _CURVES[model.modelType](model, utilization)


def smooth_power_w(model: PowerModel, utilization: Any) -> F64:
    """``power_w`` without the step of ``active`` at u = 0+: what may be interpolated between utilisations [W]."""
    watts = power_w(model, utilization)
    if model.modelType == "active" and model.stepPower:
        watts = watts - model.stepPower * (np.asarray(utilization) > 0)
    return watts


def step_w(model: PowerModel) -> float:
    """Watts [W] a host draws on top of ``smooth_power_w`` while it runs any task."""
    return model.stepPower if model.modelType == "active" else 0.0
