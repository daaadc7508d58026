"""Power models that add up to what was measured.

A calibration made at some hour explains the hours around it. Priced over a whole run it may be several percent off the
energy that was measured, though its curve has the right shape; the run's own windows were each priced with a model, and
corrected by errors, of their hour. What is asked about the whole run is therefore priced with models scaled to the
measured energy of the run: the one that needs the least scaling is the estimate, all together say how sure it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from opendt.models.topology import PowerModel, Topology
from opendt.optimize.evaluate import Simulated
from opendt.optimize.uncertainty import Evidence, energy_kwh
from opendt.power.pricing import group_models, with_group_models

MOST = 2.0  # a model further off than this explains nothing


def anchored(baseline: Simulated, given: Topology, evidence: Evidence) -> tuple[Topology, Evidence]:
    """(topology priced as measured, evidence of models that are).

    Both as they were when nothing was measured, or no calibration comes near it.

    Args:
        baseline: the present topology on the workload that is asked about.
        given: the same with the power models it was given.
        evidence: what was measured, relative to those.
    """
    occupancy = baseline.occupancy
    if not evidence.measured_ratio or occupancy is None or not evidence.ensemble:
        return baseline.topology, evidence
    wanted_kwh = evidence.measured_ratio * energy_kwh(baseline, [group_models(given, occupancy.groups)])[0]
    with np.errstate(divide="ignore"):
        factors = wanted_kwh / energy_kwh(baseline, evidence.ensemble)
    usable = np.flatnonzero(np.abs(np.log(factors)) <= np.log(MOST))
    if not len(usable):
        return baseline.topology, evidence
    ensemble = tuple(tuple(scaled(m, factors[i]) for m in evidence.ensemble[i]) for i in usable)
    best = ensemble[int(np.argmin(np.abs(np.log(factors[usable]))))]
    return with_group_models(baseline.topology, occupancy.groups, best), replace(evidence, ensemble=ensemble)


def scaled(model: PowerModel, factor: float) -> PowerModel:
    """The model with all its watts multiplied; its shape stays."""
    watts = ("power", "maxPower", "idlePower", "stepPower", "quadraticPower")
    changed = {name: getattr(model, name) * float(factor) for name in watts}
    return model.model_copy(update=changed | {"levels": tuple(w * float(factor) for w in model.levels)})
