"""Power curves inside kernels. The readable twin is ``opendt.power.curves``; a test keeps them equal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from opendt.engine.native.compiled import inlined, kernel
from opendt.models.topology import PowerModel

KINDS = ("constant", "sqrt", "linear", "square", "cubic", "mse", "asymptotic", "active", "piecewise")
# Columns of ``values``.
IDLE, SPAN, FACTOR, POWER, DVFS, STEP, QUADRATIC, LEVELS = 0, 1, 2, 3, 4, 5, 6, 7
VALUES = 8


def curve_arrays(models: list[PowerModel]) -> tuple[Any, Any, Any]:
    """Kind (int64), values (float64, (n, VALUES)) and levels (float64, (n, most levels)) of power models."""
    kind = np.array([KINDS.index(m.modelType) for m in models], dtype=np.int64)
    values = np.zeros((len(models), VALUES))
    levels = np.zeros((len(models), max([2, *(len(m.levels) for m in models)])))
    for row, m in enumerate(models):
        factor = m.asymUtil if m.modelType == "asymptotic" else m.calibrationFactor
        values[row] = (
            m.idlePower, m.maxPower - m.idlePower, factor, m.power, m.dvfs, m.stepPower, m.quadraticPower,
            len(m.levels),
        )  # fmt: skip
        levels[row, : len(m.levels)] = m.levels
    return kind, values, levels


@inlined
def power_of(kind: Any, values: Any, levels: Any, group: Any, u: Any) -> Any:
    """Power [W] of a host of ``group`` at utilisation ``u``, which lies in [0, 1]."""
    shape = kind[group]
    idle = values[group, IDLE]
    span = values[group, SPAN]
    if shape == 5:
        c = values[group, FACTOR]
        if c == 4.0:
            square = u * u
            return idle + span / 100.0 * (2.0 * u - square * square) * 100.0
        return idle + span / 100.0 * (2.0 * u - u**c) * 100.0
    if shape == 2:
        return idle + span * u
    if shape == 1:
        return idle + span * math.sqrt(u)
    if shape == 3:
        return idle + span * (u * u)
    if shape == 4:
        return idle + span * (u * u * u)
    if shape == 0:
        return values[group, POWER]
    if shape == 6:
        v = u * u * u if values[group, DVFS] != 0.0 else u
        return idle + (span / 100.0 * 100.0) / 2.0 * (1.0 + v - math.exp(-v / values[group, FACTOR]))
    if shape == 7:
        step = values[group, STEP]
        quadratic = values[group, QUADRATIC]
        return idle + (step if u > 0.0 else 0.0) + (span - step - quadratic) * u + quadratic * (u * u)
    top = int(values[group, LEVELS]) - 1
    x = u * top
    low = min(int(x), top - 1)
    return levels[group, low] + (levels[group, low + 1] - levels[group, low]) * (x - low)


@kernel
def watts(kind: Any, values: Any, levels: Any, group: Any, u: Any) -> Any:
    """``power_of`` for callers in Python."""
    return power_of(kind, values, levels, group, u)


@kernel
def price_hosts(kind: Any, values: Any, levels: Any, hosts: Any) -> None:
    """Set the power of every host from its demand."""
    for h in range(len(hosts)):
        utilization = min(hosts[h].demand_mhz / hosts[h].capacity_mhz, 1.0)
        hosts[h].power_w = power_of(kind, values, levels, hosts[h].group, utilization)
