"""What an occupancy costs: power of simulated hosts under any power model, without simulating again.

The engine says how many hosts of each group stood at which utilisation (``Occupancy``); a power model turns that into
watts by one matrix product. Hosts between two utilisation knots are split linearly between them, so a curve that is
linear between knots is priced exactly, others as their interpolation. The step of an ``active`` curve multiplies the
number of hosts that run any task and is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from opendt.engine.base import Occupancy
from opendt.errors import InputError
from opendt.models.topology import HostType, PowerModel, Topology
from opendt.power.curves import smooth_power_w, step_w

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


def host_types(topology: Topology, groups: Iterable[tuple[int, int]]) -> tuple[HostType, ...]:
    """The host type of each occupancy group (cluster index, host type index)."""
    return tuple(topology.clusters[cluster].hosts[host] for cluster, host in groups)


def group_models(topology: Topology, groups: Iterable[tuple[int, int]]) -> tuple[PowerModel, ...]:
    """The CPU power model of each occupancy group, as the topology gives it."""
    return tuple(host.cpuPowerModel for host in host_types(topology, groups))


def topology_groups(topology: Topology) -> tuple[tuple[int, int], ...]:
    """(cluster index, host type index) of every host type, in file order: the groups of an occupancy."""
    return tuple((c, h) for c, cluster in enumerate(topology.clusters) for h in range(len(cluster.hosts)))


def with_group_models(topology: Topology, groups: Sequence[tuple[int, int]], models: Sequence[PowerModel]) -> Topology:
    """The topology with other CPU power models for the host types in ``groups``; checked again."""
    by_group = dict(zip(groups, models, strict=True))
    data = topology.model_dump(mode="json")
    for (cluster, host), model in by_group.items():
        data["clusters"][cluster]["hosts"][host]["cpuPowerModel"] = model.model_dump(mode="json")
    return Topology.model_validate(data)


def price(occupancy: Occupancy, models: Sequence[PowerModel], *, mean: bool = False) -> F64:
    """Power [W] of the whole datacenter at each sample, shape (s,).

    Args:
        occupancy: simulated occupancy.
        models: one power model per ``occupancy.groups``, in that order.
        mean: average power over each sample's interval instead of the power at its instant. The step of an
            ``active`` curve uses the hosts active at the instant in both cases.

    Raises:
        InputError: the number of models differs from the number of groups.
    """
    return price_many(occupancy, [models], mean=mean)[:, 0].astype(np.float64)


def price_many(occupancy: Occupancy, trials: Sequence[Sequence[PowerModel]], *, mean: bool = False) -> F32:
    """Power [W] under many sets of power models at once, shape (s, number of trials), float32.

    One single-precision matrix product: relative error below 1e-6, thousands of trials per second over a week.
    """
    for models in trials:
        if len(models) != len(occupancy.groups):
            raise InputError(
                f"{len(models)} power models for {len(occupancy.groups)} host groups; give one per group.",
                models=len(models), groups=len(occupancy.groups),
            )  # fmt: skip
    knots = np.asarray(occupancy.knots, dtype=np.float64)
    tables = np.empty((len(occupancy.groups) * len(knots), len(trials)), np.float32)
    steps = np.zeros((len(occupancy.groups), len(trials)), np.float32)
    for t, models in enumerate(trials):
        tables[:, t] = np.concatenate([smooth_power_w(model, knots) for model in models])
        steps[:, t] = [step_w(model) for model in models]
    return price_tables(occupancy, tables, steps, mean=mean)


def price_tables(occupancy: Occupancy, tables_w: F32, steps_w: F32, *, mean: bool = False) -> F32:
    """Power [W], shape (s, t), of curves given as watts at the knots: ``tables_w`` (groups x knots, t) in group order,
    ``steps_w`` (groups, t) watts per host that runs any task."""
    weights = np.asarray(occupancy.mean_weights if mean else occupancy.weights, dtype=np.float32)
    power = weights.reshape(len(weights), -1) @ np.asarray(tables_w, np.float32)
    if np.any(steps_w):
        power += np.asarray(occupancy.active_hosts, np.float32) @ np.asarray(steps_w, np.float32)
    return power
