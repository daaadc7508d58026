"""The synthetic cluster: its topology as the datasheet has it, and the curves its hosts really follow."""

from __future__ import annotations

from opendt.models.topology import Cluster, Cpu, HostType, Memory, PowerModel, PowerSource, Topology
from opendt.traces.synthetic.jobs import MEMORY_MIB
from opendt.traces.synthetic.options import SyntheticOptions

# Idle and full-load watts of a host of 16 cores: what a datasheet promises, and what the meter sees.
_SHEET_W = (40.0, 174.0)
_TRUE_W = (52.0, 168.0)
_SHEET_FACTOR = 4.0
_SPEED_RATIO = (1.0, 1.15, 1.3)
_POWER_RATIO = (1.0, 1.35, 0.8, 1.6)


def make_topology(options: SyntheticOptions) -> Topology:
    """One cluster with ``host_types`` types whose power models (mse) are plausible and wrong."""
    return _topology(options, [_sheet(_scale(options, i)) for i in range(options.host_types)])


def hidden_topology(options: SyntheticOptions) -> Topology:
    """The same cluster with the curves its hosts really follow, before any drift."""
    return _topology(options, [hidden_model(options.curve, _scale(options, i)) for i in range(options.host_types)])


def hidden_model(curve: str, scale: float = 1.0) -> PowerModel:
    """The true power model of a host, of the kind asked for, with all watts times ``scale``."""
    idle_w, max_w = (watts * scale for watts in _TRUE_W)
    span_w = max_w - idle_w
    both = {"idlePower": idle_w, "maxPower": max_w}
    if curve == "active":
        return PowerModel(modelType="active", **both, stepPower=0.12 * span_w, quadraticPower=-0.2 * span_w)
    if curve == "step":
        return PowerModel(modelType="active", **both, stepPower=0.9 * span_w)
    if curve == "piecewise":
        levels = tuple(idle_w + span_w * part for part in (0.0, 0.3, 0.5, 0.62, 0.8, 1.0))
        return PowerModel(modelType="piecewise", **both, levels=levels)
    if curve == "constant":
        return PowerModel(modelType="constant", power=idle_w + 0.4 * span_w, **both)
    if curve == "asymptotic":
        return PowerModel(modelType="asymptotic", asymUtil=0.3, dvfs=False, **both)
    if curve == "mse":
        return PowerModel(modelType="mse", calibrationFactor=1.7, **both)
    return PowerModel.model_validate({"modelType": curve, **both})


def _sheet(scale: float) -> PowerModel:
    idle_w, max_w = (watts * scale for watts in _SHEET_W)
    return PowerModel(modelType="mse", idlePower=idle_w, maxPower=max_w, calibrationFactor=_SHEET_FACTOR)


def _scale(options: SyntheticOptions, index: int) -> float:
    return round(_POWER_RATIO[index % len(_POWER_RATIO)] * options.cores / 16, 6)


def _topology(options: SyntheticOptions, models: list[PowerModel]) -> Topology:
    each, extra = divmod(options.hosts, options.host_types)
    hosts = tuple(
        HostType(
            name=f"H{i + 1:02d}",
            count=each + (i < extra),
            cpu=Cpu(coreCount=options.cores, coreSpeed=options.core_speed_mhz * _SPEED_RATIO[i % len(_SPEED_RATIO)]),
            memory=Memory(memorySize=MEMORY_MIB),
            cpuPowerModel=model,
        )
        for i, model in enumerate(models)
    )
    cluster = Cluster(name="C01", hosts=hosts, powerSource=PowerSource(carbonTracePath="carbon.parquet"))
    return Topology(clusters=(cluster,))
