"""How sure a saving is: the same two simulations priced with every power model that explains the measurements.

The engine's occupancy says how utilised hosts were; the power model turns that into energy. Errors of the model hit
baseline and variant alike, so the band of the *difference* is narrower than that of either, and it is that difference
people decide about.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from opendt.models.topology import PowerModel, Topology
from opendt.optimize.evaluate import Simulated
from opendt.power.pricing import group_models, price_many
from opendt.units import MS_PER_S, joules_to_kwh

COVERAGE = 0.90
MIN_MODELS = 5  # fewer say nothing about a 90 % range

Models = Sequence[PowerModel]


def saving_band(baseline: Simulated, variant: Simulated, ensemble: Sequence[Models]) -> tuple[float, float] | None:
    """(low, high) energy saved by the variant [kWh] with 90 %; None without occupancy or with too few models.

    A model of the ensemble replaces the curve of the host type it belongs to. A variant's own change of a curve (a
    power cap, another maximum) is kept as the ratio between its nominal price and that of the unchanged curve.
    """
    if len(ensemble) < MIN_MODELS or baseline.occupancy is None or variant.occupancy is None:
        return None
    saved = ensemble_energy_kwh(baseline, ensemble) - _variant_energy_kwh(baseline.topology, variant, ensemble)
    low, high = np.quantile(saved, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def ensemble_energy_kwh(simulated: Simulated, ensemble: Sequence[Models]) -> NDArray[np.float64]:
    """Energy of one simulation under each set of models [kWh], shape (models,)."""
    occupancy = simulated.occupancy
    assert occupancy is not None
    power = price_many(occupancy, [list(models) for models in ensemble], mean=True).astype(np.float64)
    times = np.asarray(occupancy.timestamp_ms, dtype=np.float64)
    seconds = np.diff(times, prepend=float(simulated.start_ms)) / MS_PER_S
    return np.asarray(joules_to_kwh(seconds @ power), dtype=np.float64)


def _variant_energy_kwh(base: Topology, variant: Simulated, ensemble: Sequence[Models]) -> NDArray[np.float64]:
    occupancy = variant.occupancy
    assert occupancy is not None
    energy = ensemble_energy_kwh(variant, ensemble)
    unchanged = group_models(base, occupancy.groups)
    own = group_models(variant.topology, occupancy.groups)
    if own == unchanged:
        return energy
    nominal = ensemble_energy_kwh(variant, [unchanged, own])
    return energy * (nominal[1] / nominal[0])
