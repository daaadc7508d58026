"""A step-by-step run under another topology: the twin of ``opendt.engine.native.topology_change``."""

from __future__ import annotations

from opendt.engine.native.exact.scheduler import MemorizingScheduler, MemorizingTimeshift
from opendt.engine.native.exact.service import DRAINING, UP, Host
from opendt.engine.native.exact.world import World
from opendt.engine.native.layout import Site, host_keys, site_of
from opendt.errors import TopologyError
from opendt.models.topology import HostType, Topology


def change_world(world: World, before: Topology, topology: Topology, now: int) -> None:
    """Put ``world`` under ``topology`` at simulated time ``now``.

    Hosts are the same when cluster, host type (by name) and number agree. Raises ``TopologyError`` when clusters come,
    go, or change their battery, and when a busy host type is gone.
    """
    old_site, site = site_of(before), site_of(topology)
    batteries = [[c.battery for c in t.clusters] for t in (before, topology)]
    if old_site.cluster_names != site.cluster_names or batteries[0] != batteries[1]:
        raise TopologyError(
            "clusters and batteries cannot change during a run that follows OpenDC step by step. Start a new run."
        )
    world.flow.now = now
    known = dict(zip(host_keys(before), world.hosts, strict=False))
    listed: list[Host] = []
    types = [h for c in topology.clusters for h in c.hosts]
    for number, key in enumerate(host_keys(topology)):
        kind = types[int(site.group_of[number])]
        host = known.pop(key, None)
        if host is None:
            host = _new_host(world, site, number, kind)
        else:
            _change_host(host, kind, now)
            host.group, host.name = int(site.group_of[number]), site.host_names[number]
        listed.append(host)
    rest = list(known.values()) + world.hosts[len(host_keys(before)) :]
    groups = {h.group for h in listed}
    for host in rest:
        host.state = DRAINING
        if host.running and host.group not in groups:
            raise TopologyError(
                f"host {host.name} still runs tasks, but its host type is gone from the new topology. Keep the type "
                "with a smaller count until the tasks have ended.",
                host=host.name,
            )  # fmt: skip
    _adopt(world, listed + rest)
    drop_empty(world)
    world.service.request_cycle()


def drop_empty(world: World) -> None:
    """Remove draining hosts that run nothing."""
    gone = [host for host in world.hosts if host.state == DRAINING and not host.running]
    for host in gone:
        grid = host.psu.grid
        grid.supplier.leave(grid)  # type: ignore[attr-defined]
        for node in (host.psu, host.cpu, host.cpu_distributor, *host.gpus, host.gpu_distributor):
            if node is not None:
                node.close()
    if gone:
        _adopt(world, [host for host in world.hosts if host not in gone])


def _new_host(world: World, site: Site, number: int, kind: HostType) -> Host:
    group = int(site.group_of[number])
    cluster = site.groups[group][0]
    host = Host(world.flow, site.host_names[number], cluster, group, kind, world.grids[cluster])
    host.boot_ms = world.flow.now
    return host


def _change_host(host: Host, kind: HostType, now: int) -> None:
    """The same host with other cores, speed, memory or power model."""
    cpu = host.cpu
    used = host.memory_mib - host.free_mib
    host.cores, host.memory_mib = kind.cores, int(kind.memory.memorySize)
    host.free_mib = host.memory_mib - used
    host.state = UP if host.state == DRAINING else host.state
    if kind.capacity_mhz == cpu.capacity and kind.cpuPowerModel == cpu.model:
        return
    for task in host.running:
        if task.execution is not None:
            task.execution.change_capacity(kind.capacity_mhz, now)
    host.capacity_mhz = kind.capacity_mhz
    host.cpu_distributor.capacity = kind.capacity_mhz
    cpu.change(kind.capacity_mhz, kind.cpuPowerModel)


def _adopt(world: World, hosts: list[Host]) -> None:
    """Make ``hosts`` the hosts of world, service and scheduler."""
    world.hosts = world.service.hosts = hosts
    usable = [host for host in hosts if host.state != DRAINING]
    world.service.most_cores = max((h.cores for h in usable), default=0)
    world.service.most_memory = max((h.memory_mib for h in usable), default=0)
    scheduler = world.service.scheduler
    if isinstance(scheduler, MemorizingScheduler):
        scheduler.set_hosts(hosts)
    if isinstance(scheduler, MemorizingTimeshift):
        scheduler.shift.hosts = hosts
    elif not isinstance(scheduler, MemorizingScheduler):
        scheduler.hosts = hosts
