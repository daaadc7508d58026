"""From models to arrays: hosts of a topology, slots of tasks, fragments grouped by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.engine.native.compiled import kernel
from opendt.engine.native.watts import curve_arrays, watts
from opendt.engine.native.world import CLUSTER, FAR, HOST, TASK
from opendt.errors import EngineError, TopologyError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
LONGEST_MS = 10**15  # longest fragment; sums stay far from the end of int64


@dataclass(frozen=True, slots=True)
class Site:
    """What a topology fixes: names and groups.

    ``groups`` are (cluster index, host type index); ``entries`` tells for each host (group, ordinal in the group).
    """

    cluster_names: tuple[str, ...]
    source_names: tuple[str, ...]
    battery_names: tuple[str, ...]
    host_names: tuple[str, ...]
    groups: tuple[tuple[int, int], ...]
    ordinals: I64
    group_of: I64


class _Names:
    """OpenDC's suffix rule: the first use of a name is plain, the second gets ``-0``, the third ``-1``."""

    def __init__(self) -> None:
        self.uses: dict[str, int] = {}

    def make(self, name: str) -> str:
        used = self.uses.get(name, 0)
        self.uses[name] = used + 1
        return name if used == 0 else f"{name}-{used - 1}"


def site_of(topology: Topology) -> Site:
    """Names, groups and order of a topology's hosts."""
    clusters, sources, batteries, hosts = _Names(), _Names(), _Names(), _Names()
    host_names: list[str] = []
    groups: list[tuple[int, int]] = []
    ordinals: list[int] = []
    group_of: list[int] = []
    for c, cluster in enumerate(topology.clusters):
        for t, host in enumerate(cluster.hosts):
            group_of += [len(groups)] * host.count
            groups.append((c, t))
            ordinals += range(host.count)
            host_names += [hosts.make(host.name) for _ in range(host.count)]
    return Site(
        cluster_names=tuple(clusters.make(c.name) for c in topology.clusters),
        source_names=tuple(sources.make(c.powerSource.name) for c in topology.clusters),
        battery_names=tuple(batteries.make(c.battery.name) for c in topology.clusters if c.battery),
        host_names=tuple(host_names),
        groups=tuple(groups),
        ordinals=np.array(ordinals, np.int64),
        group_of=np.array(group_of, np.int64),
    )


HostKey = tuple[str, str, int, int]


def host_keys(topology: Topology) -> list[HostKey]:
    """What identifies each host across topologies: cluster name, type name, number of the type among its namesakes in
    the cluster, number of the host in the type."""
    site = site_of(topology)
    keys: list[HostKey] = []
    for c, cluster in enumerate(topology.clusters):
        seen: dict[str, int] = {}
        for host in cluster.hosts:
            namesake = seen.get(host.name, 0)
            seen[host.name] = namesake + 1
            keys += [(site.cluster_names[c], host.name, namesake, n) for n in range(host.count)]
    return keys


def curves_of(topology: Topology) -> tuple[Any, Any, Any]:
    """Power curves of every group, for ``watts``."""
    return curve_arrays([h.cpuPowerModel for c in topology.clusters for h in c.hosts])


def idle_watts(topology: Topology) -> F64:
    """Power of an idle host of every group [W]."""
    kind, values, levels = curves_of(topology)
    return np.array([watts(kind, values, levels, g, 0.0) for g in range(len(kind))])


def new_hosts(topology: Topology, site: Site) -> Any:
    """Idle hosts."""
    types = [h for c in topology.clusters for h in c.hosts]
    group = site.group_of
    n = len(group)

    hosts = np.zeros(n, HOST)
    if n == 0:
        return hosts
    hosts["capacity_mhz"] = np.array([h.capacity_mhz for h in types])[group]
    hosts["cores"] = np.array([h.cores for h in types])[group]
    hosts["memory_mib"] = np.array([int(h.memory.memorySize) for h in types])[group]
    hosts["free_mib"] = hosts["memory_mib"]
    hosts["cluster"] = np.array([c for c, _ in site.groups])[group]
    hosts["group"] = group
    hosts["ordinal"] = site.ordinals
    hosts["open"] = 1
    hosts["power_w"] = idle_watts(topology)[group]
    for name in ("first", "last", "listed"):
        hosts[name] = -1
    return hosts


def new_clusters(topology: Topology, hosts: Any, carbon: CarbonTrace) -> Any:
    """Clusters of idle hosts. The carbon trace goes to the cluster that names one, else to the only cluster."""
    n = len(topology.clusters)
    clusters = np.zeros(n, CLUSTER)
    named = [c for c, cluster in enumerate(topology.clusters) if cluster.powerSource.carbonTracePath]
    if len(named) > 1:
        raise TopologyError("more than one cluster has a carbonTracePath; OpenDC allows one. Remove the others.")
    if len(carbon) > 0 and n > 0:
        if not named and n > 1:
            raise TopologyError(
                "a carbon trace was given, but none of the clusters names it. Set powerSource.carbonTracePath of one."
            )
        clusters["has_carbon"][named[0] if named else 0] = 1
    np.add.at(clusters["power_w"], hosts["cluster"], hosts["power_w"])
    return clusters


_TASK_DEFAULTS = {
    "host": -1, "deadline_ms": FAR, "next": -1, "previous": -1, "schedule_ms": -1, "finish_ms": -1,
}  # fmt: skip


def new_tasks(n: int, **columns: Any) -> Any:
    """``n`` slots: the columns given, neutral values for the others."""
    tasks = np.zeros(n, TASK)
    for name, value in {**_TASK_DEFAULTS, **columns}.items():
        tasks[name] = value
    return tasks


@kernel
def _hash(value: Any, mask: Any) -> Any:
    h = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(h >> np.uint64(32)) & mask


@kernel
def index_of_ids(ids: Any, table: Any) -> Any:
    """Fill an open-addressing hash table of positions (length a power of two); returns a repeated position or -1."""
    mask = len(table) - 1
    table[:] = -1
    for i in range(len(ids)):
        k = _hash(ids[i], mask)
        while table[k] >= 0:
            if ids[table[k]] == ids[i]:
                return i
            k = (k + 1) & mask
        table[k] = i
    return -1


@kernel
def find_slot(ids: Any, table: Any, task: Any) -> Any:
    """Slot of a task id, -1 when it is unknown."""
    mask = len(table) - 1
    k = _hash(task, mask)
    while table[k] >= 0:
        if ids[table[k]] == task:
            return table[k]
        k = (k + 1) & mask
    return -1


@kernel
def find_groups(ids: Any, table: Any, wanted: Any, start: Any, count: Any) -> Any:
    """First fragment and number of fragments of each slot; whether the fragments of every task stand together."""
    grouped = True
    i = 0
    while i < len(wanted):
        task = wanted[i]
        first = i
        while i < len(wanted) and wanted[i] == task:
            i += 1
        slot = find_slot(ids, table, task)
        if slot >= 0:
            if count[slot] > 0:
                grouped = False
            else:
                start[slot] = first
            count[slot] += i - first
    return grouped


@kernel
def find_slots(ids: Any, table: Any, wanted: Any, slot: Any) -> None:
    """Slot of every fragment, -1 where its task is unknown."""
    for i in range(len(wanted)):
        if i > 0 and wanted[i] == wanted[i - 1]:
            slot[i] = slot[i - 1]
        else:
            slot[i] = find_slot(ids, table, wanted[i])


@kernel
def scatter(slot: Any, duration: Any, usage: Any, cursor: Any, out_duration: Any, out_usage: Any) -> None:
    """Copy fragments to their task's place, in order; ``cursor`` holds the next free place of each slot."""
    for i in range(len(slot)):
        k = slot[i]
        if k >= 0:
            at = cursor[k]
            out_duration[at] = duration[i]
            out_usage[at] = usage[i]
            cursor[k] = at + 1


@kernel
def first_bad_fragment(duration: Any, usage: Any, longest: Any) -> Any:
    """First fragment with a duration outside [0, longest] or a usage that is negative or not finite; -1 if none."""
    bad = 0
    for i in range(len(duration)):  # without a way out, so that the compiler can use vectors
        good = (duration[i] >= 0) & (duration[i] <= longest) & (usage[i] >= 0.0) & (usage[i] < np.inf)
        bad += 0 if good else 1
    if bad == 0:
        return -1
    for i in range(len(duration)):
        if not (duration[i] >= 0 and duration[i] <= longest and usage[i] >= 0.0 and usage[i] < np.inf):
            return i
    return -1


def hash_table(ids: I64) -> I64:
    """A table for ``find_slots``; raises ``EngineError`` naming an id that occurs twice."""
    table = np.empty(max(16, 1 << (2 * len(ids)).bit_length()), np.int64)
    repeated = index_of_ids(ids, table)
    if repeated >= 0:
        raise EngineError(
            f"task {ids[repeated]} occurs twice; task ids must be unique. Remove one of the tasks.",
            engine="native", reason="duplicate task id", task_id=int(ids[repeated]),
        )  # fmt: skip
    return table
