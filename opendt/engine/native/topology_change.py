"""A state under another topology: tasks keep running, hosts that are no longer wanted drain (DESIGN, Engine)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from opendt.engine.native import layout, world
from opendt.engine.native.sampling import count_hosts
from opendt.engine.native.session import fresh_arrays
from opendt.engine.native.state import NativeState
from opendt.engine.native.watts import price_hosts
from opendt.errors import TopologyError
from opendt.models.topology import Topology


def change_topology(state: NativeState, topology: Topology) -> NativeState:
    """The state under ``topology``, from its current time on.

    Hosts are the same when cluster, host type (by name) and number agree; changed cores, speed, memory or power take
    effect at once. A host that is gone takes no new tasks and disappears when it is empty. Raises ``TopologyError``
    when a whole cluster or host type with running tasks is gone.
    """
    if state.origin_ms is None or state.until_ms is None:
        site = layout.site_of(topology)
        fresh = replace(state, topology=topology, site=site, host_names=site.host_names, kept={})
        return replace(fresh, arrays=fresh_arrays(fresh))
    now = state.until_ms - state.origin_ms
    old = state.arrays["hosts"].copy()
    clusters = state.arrays["clusters"].copy()
    clock = state.arrays["clock"].copy()
    occupancy = _settle(clock, old, clusters, state, now)
    old_keys = _known_keys(state, old)
    site = layout.site_of(topology)
    new = layout.new_hosts(topology, site)
    place = _match(old_keys, layout.host_keys(topology), old, new)
    drained = np.flatnonzero((place < 0) & (old["instances"] > 0))
    group_map = _group_map(state.topology, topology)
    _keep_dynamics(old, new, place, now)
    hosts = np.concatenate([new, old[drained]])
    extra = hosts[len(new) :]
    place[drained] = len(new) + np.arange(len(drained))
    extra["open"] = 0
    extra["group"] = group_map[extra["group"]]
    if (extra["group"] < 0).any():
        name = state.host_names[int(drained[np.flatnonzero(extra["group"] < 0)[0]])]
        raise TopologyError(
            f"host {name} still runs tasks, but its cluster or host type is gone from the new topology. Keep the type "
            "with a smaller count until the tasks have ended.",
            host=name,
        )  # fmt: skip
    cluster_of_group = np.array([c for c, _ in site.groups], np.int64)
    extra["cluster"] = cluster_of_group[extra["group"]] if len(extra) else extra["cluster"]
    price_hosts(*layout.curves_of(topology), hosts)
    made = _clusters(state, topology, clusters, hosts, now)
    clock[world.ACTIVE_HOSTS] = 0
    active = place[state.arrays["active_hosts"]]
    active = active[active >= 0]
    clock[world.ACTIVE_HOSTS] = len(active)
    hosts["listed"] = -1
    hosts["listed"][active] = np.arange(len(active))
    _ask_for_cycle(clock, now)
    clock[world.RESHARE] = 1
    tasks = state.arrays["tasks"].copy()
    tasks["host"] = np.append(place, -1)[tasks["host"]]
    grown = np.zeros((max(len(site.groups), 1), occupancy.shape[1]))
    for before, after in enumerate(group_map):
        if after >= 0:
            grown[after] += occupancy[before]
    names = (*site.host_names, *(state.host_names[h] for h in drained))
    arrays = {
        **state.arrays,
        "hosts": hosts, "clusters": made, "clock": clock, "tasks": tasks, "active_hosts": active, "occupancy": grown,
    }  # fmt: skip
    return replace(state, topology=topology, site=site, host_names=names, arrays=arrays, kept={})


def drop_empty_hosts(state: NativeState) -> NativeState:
    """The state without drained hosts that have become empty."""
    hosts = state.arrays["hosts"]
    if not ((hosts["open"] == 0) & (hosts["instances"] == 0)).any():
        return state
    return change_topology(state, state.topology)


def _known_keys(state: NativeState, hosts: Any) -> list[layout.HostKey]:
    """Keys of the state's hosts; a draining one has a number no host of the topology has."""
    keys = layout.host_keys(state.topology)
    for number in range(len(keys), len(hosts)):
        keys.append(("", "", 0, -1 - number))
    return keys


def _match(old_keys: list[layout.HostKey], new_keys: list[layout.HostKey], old: Any, new: Any) -> Any:
    """Position of every old host among the new ones, -1 for those that are gone."""
    where = {key: h for h, key in enumerate(new_keys)}
    return np.array([where.get(key, -1) for key in old_keys], np.int64)


def _settle(clock: Any, hosts: Any, clusters: Any, state: NativeState, now: int) -> Any:
    """Count everything up to ``now`` under the old topology; returns the occupancy of the current interval."""
    count_hosts(hosts, now)
    joules = clusters["power_w"] * np.maximum(now - clusters["since_ms"], 0) * 0.001
    for name in ("piece_j", "total_j"):
        clusters[name] += joules
    clusters["since_ms"] = now
    occupancy = state.arrays["occupancy"].copy()
    knots = int(clock[world.KNOTS])
    if knots == 0:
        return occupancy
    listed = state.arrays["active_hosts"]
    busy = hosts[listed]
    x = np.minimum(busy["demand_mhz"] / busy["capacity_mhz"], 1.0) * (knots - 1)
    k = np.minimum(x.astype(np.int64), knots - 2)
    span = np.where(busy["demand_mhz"] > 0, now - busy["occupied_ms"], 0)
    np.add.at(occupancy, (busy["group"], k), span * (1.0 - (x - k)))
    np.add.at(occupancy, (busy["group"], k + 1), span * (x - k))
    hosts["occupied_ms"] = now
    return occupancy


_DYNAMIC = (
    "reserved", "instances", "wanted_mhz", "wanted_low", "demand_mhz", "counted_ms", "energy_j", "active_ms", "idle_ms",
    "steal_ms", "first", "last", "occupied_ms",
)  # fmt: skip


def _keep_dynamics(old: Any, new: Any, place: Any, now: int) -> None:
    """What tasks did to a host stays with it; free memory follows its size."""
    new["counted_ms"] = now
    new["occupied_ms"] = now
    stays = np.flatnonzero(place >= 0)
    at = place[stays]
    for name in _DYNAMIC:
        new[name][at] = old[name][stays]
    new["free_mib"][at] = new["memory_mib"][at] - (old["memory_mib"][stays] - old["free_mib"][stays])


def _group_map(old: Topology, new: Topology) -> Any:
    """Group of the new topology for every group of the old one, -1 where its type is gone."""

    def names(topology: Topology) -> list[tuple[str, str, int]]:
        found: list[tuple[str, str, int]] = []
        for key in layout.host_keys(topology):
            if not found or found[-1] != key[:3]:
                found.append(key[:3])
        return found

    where = {key: g for g, key in enumerate(names(new))}
    return np.array([where.get(key, -1) for key in names(old)], np.int64)


def _clusters(state: NativeState, topology: Topology, old: Any, hosts: Any, now: int) -> Any:
    """Clusters of the new topology; those with the same name keep their totals and open sample."""
    made = layout.new_clusters(topology, hosts, state.carbon)
    made["since_ms"] = now
    before = {name: c for c, name in enumerate(state.site.cluster_names)}
    intensity = float(state.carbon.at(np.array([state.until_ms]))[0]) if len(state.carbon) else 0.0
    for c, name in enumerate(layout.site_of(topology).cluster_names):
        made["intensity"][c] = intensity if made["has_carbon"][c] else 0.0
        if name in before:
            for column in ("piece_j", "energy_j", "carbon_g", "total_j", "total_g", "intensity"):
                made[column][c] = old[column][before[name]]
    return made


def _ask_for_cycle(clock: Any, now: int) -> None:
    """Hosts changed: waiting tasks get another try (SEMANTICS 7.1)."""
    if clock[world.CYCLE_AT] == world.FAR and clock[world.QUEUE_HEAD] < clock[world.QUEUE_TAIL]:
        clock[world.CYCLE_AT] = -(-now // 1000) * 1000
        clock[world.CYCLE_SEQ] = clock[world.SEQUENCE]
        clock[world.SEQUENCE] += 1
