"""Evidence about the power model from the lake: what calibrations chose and how windows' energies compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from opendt.calibration.space import with_properties
from opendt.errors import ConfigError, TopologyError
from opendt.lake import Lake
from opendt.models.topology import PowerModel, Topology
from opendt.optimize.uncertainty import NO_EVIDENCE, Evidence
from opendt.power.pricing import group_models, topology_groups, with_group_models

RECENT = 48  # calibrations, and newest windows, looked at

# Spread over the run, the newest among them.
_CALIBRATIONS = """
SELECT parameters_json, method FROM calibrations WHERE run_id = ? AND datacenter = ? AND published
QUALIFY (row_number() OVER (ORDER BY window_index DESC, created_ms DESC) - 1) % ceil(count(*) OVER () / ?)::BIGINT = 0
ORDER BY window_index DESC, created_ms DESC"""
_RATIOS = """
SELECT energy_measured_j / energy_j AS ratio FROM windows
WHERE run_id = ? AND datacenter = ? AND energy_measured_j > 0 AND energy_j > 0 AND calibration_id IS NOT NULL
ORDER BY window_index DESC LIMIT ?"""

# Measured energy over that of the topology as given, in windows that have readings.
_MEASURED = """
SELECT sum(energy_measured_j) / nullif(sum(energy_uncalibrated_j), 0) AS ratio FROM windows
WHERE run_id = ? AND datacenter = ? AND energy_measured_j > 0 AND energy_uncalibrated_j > 0
AND end_ms > coalesce(?, end_ms - 1) AND start_ms < coalesce(?, start_ms + 1)"""


def calibrated(
    lake: Lake, run_id: str, datacenter: str, topology: Topology, start_ms: int | None = None, end_ms: int | None = None
) -> tuple[Topology, Evidence]:
    """(topology with the power parameters last calibrated, evidence) of a run; as given where there is none.

    Calibrations whose parameters are no topology properties are left out: they cannot price a changed topology.

    Args:
        start_ms: beginning of the part of the run that is asked about [epoch ms]; None for its own.
        end_ms: end of that part [epoch ms]; None for its own.
    """
    rows = lake.rows(_CALIBRATIONS, [run_id, datacenter, RECENT])
    fitted = [t for t in (_with_parameters(topology, row["parameters_json"]) for row in rows) if t is not None]
    ratios = [float(row["ratio"]) for row in lake.rows(_RATIOS, [run_id, datacenter, RECENT])]
    if not fitted and not ratios:
        return topology, NO_EVIDENCE
    groups = topology_groups(topology)
    ensemble: tuple[tuple[PowerModel, ...], ...] = tuple(group_models(t, groups) for t in fitted)
    source = f"{len(ensemble)} calibrations and {len(ratios)} windows of run {run_id}"
    (measured,) = lake.rows(_MEASURED, [run_id, datacenter, start_ms, end_ms])
    return (fitted[0] if fitted else topology), Evidence(ensemble, tuple(ratios), source, measured["ratio"])


def _with_parameters(topology: Topology, parameters_json: str | None) -> Topology | None:
    """The topology under one calibration's parameters; None where they are neither curves nor properties of it."""
    parameters: Any = orjson.loads(parameters_json or "{}")
    if not isinstance(parameters, dict) or not parameters:
        return None
    try:
        if "groups" in parameters:
            return _with_curves(topology, parameters["groups"])
        return with_properties(topology, parameters)
    except (ConfigError, TopologyError):
        return None


def _with_curves(topology: Topology, curves: dict[str, Any]) -> Topology | None:
    """The topology with learned curves by "cluster/host type"; None when one is missing.

    A curve is ``levels_w`` at evenly spaced utilisations and ``step_w`` for running anything. It is made monotone here:
    a power model may not fall, and what was learned may wiggle where hosts hardly ever stood.
    """
    groups = topology_groups(topology)
    names = [f"{topology.clusters[c].name}/{topology.clusters[c].hosts[h].name}" for c, h in groups]
    if any(name not in curves for name in names):
        return None
    models = []
    for name in names:
        levels = np.asarray(curves[name]["levels_w"], np.float64)
        levels = np.maximum.accumulate(
            np.maximum(levels + float(curves[name]["step_w"]) * (np.arange(len(levels)) > 0), 0)
        )
        watts = tuple(float(w) for w in levels)
        models.append(PowerModel(modelType="piecewise", idlePower=watts[0], maxPower=watts[-1], levels=watts))
    return with_group_models(topology, groups, models)
