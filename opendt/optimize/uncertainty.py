"""How sure a saving is, from what calibration left open.

Two things are uncertain: the curve (several power models explain the measurements about equally well) and what no
curve explains (measured against simulated energy differs from window to window). Baseline and variant are priced with
the same model and the same error each time, so the band is that of their *difference*, which people decide about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opendt.models.topology import PowerModel, Topology
from opendt.optimize.evaluate import Simulated
from opendt.power.pricing import group_models, price_many
from opendt.units import MS_PER_S, joules_to_kwh

COVERAGE = 0.90
LEAST = 5  # models or windows; fewer say nothing about a 90 % range

Models = tuple[PowerModel, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What measurements say about the power model.

    Attributes:
        ensemble: power models, one per host type each, that recent calibrations chose.
        energy_ratios: measured over simulated energy of recent windows [unitless].
        source: where both come from, in words.
        measured_ratio: measured energy over that of the topology as given [unitless]; None if unknown.
    """

    ensemble: tuple[Models, ...] = ()
    energy_ratios: tuple[float, ...] = ()
    source: str = ""
    measured_ratio: float | None = None


NO_EVIDENCE = Evidence()


def saving_band(baseline: Simulated, variant: Simulated, evidence: Evidence) -> tuple[float, float] | None:
    """(low, high) energy saved by the variant [kWh] with 90 %; None when there is too little evidence.

    A variant's own change of a curve (a power cap, another maximum) is kept as the ratio between the price with its
    curve and the price with the unchanged one.
    """
    curves = len(evidence.ensemble) >= LEAST and baseline.occupancy is not None and variant.occupancy is not None
    windows = len(evidence.energy_ratios) >= LEAST
    if not curves and not windows:
        return None
    saved = np.array([baseline.outcome.energy_kwh - variant.outcome.energy_kwh])
    if curves:
        saved = energy_kwh(baseline, evidence.ensemble) - _variant_energy_kwh(
            baseline.topology, variant, evidence.ensemble
        )
    if windows:
        saved = np.outer(saved, evidence.energy_ratios).ravel()
    low, high = np.quantile(saved, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    point = baseline.outcome.energy_kwh - variant.outcome.energy_kwh  # of one of the models; theirs may differ by more
    return min(float(low), point), max(float(high), point)


def energy_kwh(simulated: Simulated, ensemble: Sequence[Models]) -> NDArray[np.float64]:
    """Energy of one simulation under each set of models [kWh], shape (models,)."""
    occupancy = simulated.occupancy
    assert occupancy is not None
    power = price_many(occupancy, ensemble, mean=True).astype(np.float64)
    times = np.asarray(occupancy.timestamp_ms, dtype=np.float64)
    seconds = np.diff(times, prepend=float(simulated.start_ms)) / MS_PER_S
    return np.asarray(joules_to_kwh(seconds @ power), dtype=np.float64)


def _variant_energy_kwh(base: Topology, variant: Simulated, ensemble: Sequence[Models]) -> NDArray[np.float64]:
    occupancy = variant.occupancy
    assert occupancy is not None
    energy = energy_kwh(variant, ensemble)
    unchanged = group_models(base, occupancy.groups)
    own = group_models(variant.topology, occupancy.groups)
    if own == unchanged:
        return energy
    nominal = energy_kwh(variant, [unchanged, own])
    return energy * (nominal[1] / nominal[0])
