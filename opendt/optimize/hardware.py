"""What slower, smaller or capped processors draw: other settings, other power models. Pure functions.

OpenDC's curves give watts by utilisation, whatever a core can do: halving ``coreSpeed`` alone leaves a full host at
its old maximum. A search that varies hardware must vary its power with it, or it optimises an artefact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opendt.models.topology import PowerModel
from opendt.power.curves import power_w

LEVELS = 33  # of a capped curve; piecewise linear, error below 0.1 % of the range for every OpenDC curve


def scaled(model: PowerModel, cores_ratio: float, speed_ratio: float, exponent: float) -> PowerModel:
    """The power model of a host whose core count and core speed changed by these ratios [unitless].

    Dynamic power (above idle) scales with ``cores_ratio * speed_ratio ** exponent``; idle power stays. An exponent of
    3 is a voltage that follows the frequency exactly, 1 a constant voltage; real processors lie between (E. Le Sueur,
    G. Heiser, "Dynamic voltage and frequency scaling: the laws of diminishing returns", HotPower 2010).
    A ``constant`` model stays as it is.
    """
    factor = cores_ratio * speed_ratio**exponent
    if factor == 1.0 or model.modelType == "constant":
        return model
    idle = model.levels[0] if model.modelType == "piecewise" else model.idlePower
    changes: dict[str, Any] = {
        "maxPower": model.idlePower + (model.maxPower - model.idlePower) * factor,
        "stepPower": model.stepPower * factor,
        "quadraticPower": model.quadraticPower * factor,
        "levels": tuple(idle + (level - idle) * factor for level in model.levels),
    }
    return PowerModel.model_validate(model.model_dump() | changes)


def usable_ratio(model: PowerModel, cap_w: float) -> float:
    """Largest utilisation up to which a host stays at or below ``cap_w`` [0-1]; 1 when the cap never binds."""
    grid = np.linspace(0.0, 1.0, 2001)
    above = power_w(model, grid) > cap_w
    return float(grid[max(0, int(np.argmax(above)) - 1)]) if above.any() else 1.0


def peak_w(model: PowerModel) -> float:
    """Highest power of the curve [W]; ``mse`` has it inside the range."""
    return float(np.max(power_w(model, np.linspace(0.0, 1.0, 2001))))


def capped(model: PowerModel, usable: float) -> PowerModel:
    """The curve of a host that may only use its first ``usable`` share, over the utilisation of what is left.

    A ``piecewise`` model with the same watts at the same work; the host's ``coreSpeed`` must be scaled by ``usable``.
    """
    levels = power_w(model, np.linspace(0.0, usable, LEVELS))
    rising = np.maximum.accumulate(levels)
    return PowerModel(
        modelType="piecewise", levels=tuple(float(w) for w in rising),
        idlePower=float(rising[0]), maxPower=float(rising[-1]),
    )  # fmt: skip
