"""What tasks ask of hosts, what hosts grant, and what that costs: kernels of the NoDelay event loop."""

from __future__ import annotations

from typing import Any

from opendt.engine.native.compiled import inlined, kernel
from opendt.engine.native.sampling import count_host, count_task, occupy, settle_cluster
from opendt.engine.native.watts import power_of
from opendt.engine.native.world import ACTIVE_HOSTS, HOST_EVERY, KNOTS, NOW, RESHARE, TASK_ROWS


@inlined
def mark(hosts: Any, s: Any, dirty: Any, h: Any) -> Any:
    """Put a host on the list of those to be refreshed in this instant; returns the length of the list."""
    if hosts[h].dirty == 0:
        hosts[h].dirty = 1
        s.dirty_hosts[dirty] = h
        return dirty + 1
    return dirty


@inlined
def add_demand(hosts: Any, h: Any, before: Any, after: Any) -> None:
    """Replace a task's demand in the sum of its host, in double-double arithmetic.

    A plain running sum drifts, and an emptied host would seem to ask for something; summing anew costs a walk over
    all tasks of the host at every change. Here what is added comes off again without a trace.

    References: [1] T. J. Dekker, "A floating-point technique for extending the available precision", 1971,
    doi:10.1007/BF01397083.
    """
    host = hosts[h]
    change = after - before
    back = after - change
    lost = (after - (change + back)) + (back - before)
    high = host.wanted_mhz
    total = high + change
    part = total - high
    low = host.wanted_low + (((high - (total - part)) + (change - part)) + lost)
    host.wanted_mhz = total + low
    host.wanted_low = low - (host.wanted_mhz - total)


@inlined
def change_demand(clock: Any, hosts: Any, tasks: Any, slot: Any, usage: Any) -> None:
    """A task asks for ``usage`` from now on. Its supply is set to that, until its host says otherwise."""
    task = tasks[slot]
    if clock[TASK_ROWS] == 1:
        count_task(tasks, hosts, slot, clock[NOW])
        task.counted_demand = usage
        task.supply_mhz = usage
    add_demand(hosts, task.host, task.demand_mhz, usage)
    task.demand_mhz = usage


@kernel
def fair_shares(hosts: Any, tasks: Any, s: Any, h: Any, total: Any) -> None:
    """Supplies of a host's tasks: max-min fair in order of arrival (SEMANTICS 5.7), into ``s.share``."""
    n = 0
    slot = hosts[h].first
    while slot >= 0:
        s.share_order[n] = slot
        s.share[slot] = tasks[slot].demand_mhz
        n += 1
        slot = tasks[slot].next
    available = hosts[h].capacity_mhz
    if total <= available:
        return
    for i in range(1, n):
        slot = s.share_order[i]
        j = i
        while j > 0 and tasks[s.share_order[j - 1]].demand_mhz > tasks[slot].demand_mhz:
            s.share_order[j] = s.share_order[j - 1]
            j -= 1
        s.share_order[j] = slot
    for i in range(n):
        slot = s.share_order[i]
        given = 0.0
        if tasks[slot].demand_mhz > 0.0:
            given = min(tasks[slot].demand_mhz, available / (n - i))
            available -= given
        s.share[slot] = given


@kernel
def refresh_tasks(hosts: Any, tasks: Any, s: Any, h: Any, total: Any, now: Any) -> None:
    """Share a host among its tasks again; those whose supply changes are counted first."""
    fair_shares(hosts, tasks, s, h, total)
    slot = hosts[h].first
    while slot >= 0:
        if s.share[slot] != tasks[slot].supply_mhz:
            count_task(tasks, hosts, slot, now)
            tasks[slot].supply_mhz = s.share[slot]
        slot = tasks[slot].next


@inlined
def list_host(clock: Any, hosts: Any, s: Any, h: Any) -> None:
    """Keep the list of hosts with tasks."""
    place = hosts[h].listed
    if hosts[h].instances > 0 and place < 0:
        hosts[h].listed = clock[ACTIVE_HOSTS]
        s.active_hosts[clock[ACTIVE_HOSTS]] = h
        clock[ACTIVE_HOSTS] += 1
    elif hosts[h].instances == 0 and place >= 0:
        clock[ACTIVE_HOSTS] -= 1
        moved = s.active_hosts[clock[ACTIVE_HOSTS]]
        s.active_hosts[place] = moved
        hosts[moved].listed = place
        hosts[h].listed = -1


@inlined
def refresh(clock: Any, hosts: Any, tasks: Any, clusters: Any, s: Any, trace: Any, h: Any) -> None:
    """Let a host's demand follow its tasks, and power, energy and counters its demand."""
    now = clock[NOW]
    host = hosts[h]
    host.dirty = 0
    if host.instances == 0:
        host.wanted_mhz = 0.0
        host.wanted_low = 0.0
    total = max(host.wanted_mhz, 0.0)
    if clock[KNOTS] > 0:
        occupy(s, hosts, h, clock[KNOTS], now)
        list_host(clock, hosts, s, h)
    if clock[TASK_ROWS] == 1 and (total > host.capacity_mhz or host.demand_mhz > host.capacity_mhz):
        refresh_tasks(hosts, tasks, s, h, total, now)
    if total == host.demand_mhz:
        return
    if clock[HOST_EVERY] > 0:
        count_host(hosts, h, now)
    host.demand_mhz = total
    utilization = min(total / host.capacity_mhz, 1.0)
    power = power_of(trace.curve_kind, trace.curve_values, trace.curve_levels, host.group, utilization)
    settle_cluster(clusters, host.cluster, now)
    change_power(clusters, host.cluster, power - host.power_w)
    host.power_w = power


@inlined
def change_power(clusters: Any, c: Any, change: Any) -> None:
    """Add to a cluster's power in double-double arithmetic, as in ``add_demand``."""
    cluster = clusters[c]
    high = cluster.power_w
    total = high + change
    part = total - high
    low = cluster.power_low_w + ((high - (total - part)) + (change - part))
    cluster.power_w = total + low
    cluster.power_low_w = low - (cluster.power_w - total)


@kernel
def reshare(clock: Any, hosts: Any, tasks: Any, s: Any, now: Any) -> None:
    """Share every host among its tasks again, after capacities changed between calls."""
    clock[RESHARE] = 0
    if clock[TASK_ROWS] == 1:
        for h in range(len(hosts)):
            refresh_tasks(hosts, tasks, s, h, hosts[h].demand_mhz, now)
