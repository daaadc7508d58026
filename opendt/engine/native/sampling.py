"""Kernels that write result rows: power sources, service, hosts, tasks, occupancy (SEMANTICS 9)."""

from __future__ import annotations

import math
from typing import Any

from opendt.engine.native.compiled import inlined, kernel
from opendt.engine.native.world import (
    ACTIVE,
    ACTIVE_HOSTS,
    COMPLETED,
    HOST_EVERY,
    HOST_ROWS_AT,
    KNOTS,
    LAST,
    NOW,
    OCCUPIED_SINCE,
    ORIGIN,
    PHASE,
    QUEUE_HEAD,
    QUEUE_TAIL,
    ROWS,
    RUNNING,
    SUBMITTED,
    TASK_ROWS,
    TERMINATED,
    TICK_NUMBER,
)

J_PER_KWH = 3.6e6


@inlined
def settle_cluster(clusters: Any, c: Any, now: Any) -> None:
    """Count a cluster's energy up to ``now``."""
    dt = now - clusters[c].since_ms
    if dt > 0:
        joules = clusters[c].power_w * dt * 0.001
        clusters[c].piece_j += joules
        clusters[c].total_j += joules
        clusters[c].since_ms = now


@kernel
def close_piece(clusters: Any, c: Any) -> None:
    """End a stretch of constant carbon intensity: its energy becomes emission."""
    grams = clusters[c].intensity * clusters[c].piece_j / J_PER_KWH
    clusters[c].carbon_g += grams
    clusters[c].total_g += grams
    clusters[c].energy_j += clusters[c].piece_j
    clusters[c].piece_j = 0.0


@inlined
def count_host(hosts: Any, h: Any, now: Any) -> None:
    """Count a host's processor times and energy up to ``now``, rounding as OpenDC does (SEMANTICS 6.3)."""
    dt = now - hosts[h].counted_ms
    if dt <= 0:
        return
    hosts[h].counted_ms = now
    hosts[h].energy_j += hosts[h].power_w * dt * 0.001
    capacity = hosts[h].capacity_mhz
    demand = hosts[h].demand_mhz
    supply = min(demand, capacity)
    share = (1.0 / capacity) * dt
    hosts[h].active_ms += math.floor(supply * share + 0.5)
    hosts[h].idle_ms += math.floor((capacity - supply) * share + 0.5)
    hosts[h].steal_ms += math.floor((demand - supply) * share + 0.5)


@kernel
def count_hosts(hosts: Any, now: Any) -> None:
    """Count every host up to ``now``."""
    for h in range(len(hosts)):
        count_host(hosts, h, now)


@inlined
def count_task(tasks: Any, hosts: Any, slot: Any, now: Any) -> None:
    """Count a task's processor times up to ``now``; the idle time is that of the last stretch only, as in OpenDC."""
    dt = now - tasks[slot].counted_ms
    if dt <= 0:
        return
    tasks[slot].counted_ms = now
    capacity = hosts[tasks[slot].host].capacity_mhz
    share = (1.0 / capacity) * dt
    supply = tasks[slot].supply_mhz
    tasks[slot].active_ms += math.floor(supply * share + 0.5)
    tasks[slot].idle_ms = math.floor((capacity - supply) * share + 0.5)
    tasks[slot].steal_ms += math.floor((tasks[slot].counted_demand - supply) * share + 0.5)


@inlined
def occupy(s: Any, hosts: Any, h: Any, knots: Any, now: Any) -> None:
    """Add the time since the last call at a host's utilisation to the occupancy of the interval."""
    dt = now - hosts[h].occupied_ms
    hosts[h].occupied_ms = now
    demand = hosts[h].demand_mhz
    if dt <= 0 or demand <= 0.0:
        return
    x = min(demand / hosts[h].capacity_mhz, 1.0) * (knots - 1)
    k = min(int(x), knots - 2)
    g = hosts[h].group
    s.occupancy[g, k] += dt * (1.0 - (x - k))
    s.occupancy[g, k + 1] += dt * (x - k)


@kernel
def sample_occupancy(clock: Any, hosts: Any, s: Any, trace: Any, out: Any, row: Any) -> None:
    """Occupancy at the sample and averaged since the one before."""
    now = clock[NOW]
    knots = clock[KNOTS]
    groups = len(trace.group_hosts)
    for i in range(clock[ACTIVE_HOSTS]):
        h = s.active_hosts[i]
        occupy(s, hosts, h, knots, now)
        g = hosts[h].group
        x = min(hosts[h].demand_mhz / hosts[h].capacity_mhz, 1.0) * (knots - 1)
        k = min(int(x), knots - 2)
        out.weights[row, g, k] += 1.0 - (x - k)
        out.weights[row, g, k + 1] += x - k
        out.weights[row, g, 0] -= 1.0
        if hosts[h].instances > 0:
            out.active_hosts[row, g] += 1
    span = now - clock[OCCUPIED_SINCE]
    for g in range(groups):
        out.weights[row, g, 0] += trace.group_hosts[g]
        if span <= 0:
            for k in range(knots):
                out.mean_weights[row, g, k] = out.weights[row, g, k]
            continue
        seen = 0.0
        for k in range(knots):
            value = s.occupancy[g, k]
            if value != 0.0:
                seen += value
                out.mean_weights[row, g, k] = value / span
                s.occupancy[g, k] = 0.0
        out.mean_weights[row, g, 0] += (trace.group_hosts[g] * span - seen) / span
    clock[OCCUPIED_SINCE] = now


@kernel
def shown_demand(clock: Any, hosts: Any, tasks: Any, h: Any) -> Any:
    """A host's demand in a row.

    When the last task ends in phase 2 (after trailing fragments without length), the final sample already shows the
    new demand beside the old usage and power (SEMANTICS 5.5).
    """
    if clock[PHASE] != 2 or hosts[h].dirty == 0:
        return hosts[h].demand_mhz
    if tasks[clock[LAST]].host == h:
        return hosts[h].wanted_mhz + tasks[clock[LAST]].demand_mhz
    return hosts[h].wanted_mhz


@kernel
def sample_hosts(clock: Any, hosts: Any, tasks: Any, out: Any) -> None:
    """One row per host: columns as in ``Output``."""
    now = clock[NOW]
    absolute = now + clock[ORIGIN]
    row = out.used[1]
    for h in range(len(hosts)):
        count_host(hosts, h, now)
        out.host_int[0, row] = now
        out.host_int[1, row] = absolute
        out.host_tasks[row] = hosts[h].instances
        usage = min(hosts[h].demand_mhz, hosts[h].capacity_mhz)
        out.host_float[0, row] = usage
        out.host_float[4, row] = usage / hosts[h].capacity_mhz
        out.host_float[1, row] = shown_demand(clock, hosts, tasks, h)
        out.host_int[2, row] = hosts[h].active_ms
        out.host_int[3, row] = hosts[h].idle_ms
        out.host_int[4, row] = hosts[h].steal_ms
        out.host_float[2, row] = hosts[h].power_w
        out.host_float[3, row] = hosts[h].energy_j
        hosts[h].active_ms = 0
        hosts[h].idle_ms = 0
        hosts[h].steal_ms = 0
        hosts[h].energy_j = 0.0
        row += 1
    out.used[1] = row
    clock[HOST_ROWS_AT] = now


@kernel
def sample_tasks(clock: Any, hosts: Any, tasks: Any, s: Any, out: Any) -> None:
    """One row per task submitted and not removed; tasks that ended get their last row."""
    now = clock[NOW]
    absolute = now + clock[ORIGIN]
    row = out.used[2]
    kept = 0
    for i in range(clock[ROWS]):
        slot = s.row_slots[i]
        state = tasks[slot].state
        running = state == RUNNING
        active = 0
        idle = 0
        steal = 0
        uptime = 0
        limit = 0.0
        usage = 0.0
        demand = 0.0
        if running:
            count_task(tasks, hosts, slot, now)
            active = tasks[slot].active_ms // 1000 - tasks[slot].active_reported // 1000
            steal = tasks[slot].steal_ms // 1000 - tasks[slot].steal_reported // 1000
            idle = tasks[slot].idle_ms // 1000 - tasks[slot].idle_reported // 1000
            tasks[slot].active_reported = tasks[slot].active_ms
            tasks[slot].idle_reported = tasks[slot].idle_ms
            tasks[slot].steal_reported = tasks[slot].steal_ms
            uptime = now - tasks[slot].up_since_ms
            tasks[slot].up_since_ms = now
            limit = hosts[tasks[slot].host].capacity_mhz
            usage = tasks[slot].supply_mhz
            demand = tasks[slot].demand_mhz
        out.task_int[0, row] = now
        out.task_int[1, row] = absolute
        out.task_int[2, row] = tasks[slot].mem_mib
        out.task_int[3, row] = active
        out.task_int[4, row] = idle
        out.task_int[5, row] = steal
        out.task_int[6, row] = uptime
        out.task_int[7, row] = tasks[slot].schedule_ms
        out.task_int[8, row] = tasks[slot].submit_ms
        out.task_int[9, row] = tasks[slot].finish_ms
        out.task_small[0, row] = tasks[slot].id
        out.task_small[1, row] = tasks[slot].cpu_count
        out.task_small[2, row] = slot
        out.task_small[3, row] = tasks[slot].host
        out.task_small[4, row] = state
        out.task_float[0, row] = limit
        out.task_float[1, row] = usage
        out.task_float[2, row] = demand
        row += 1
        if tasks[slot].finish_ms < 0:
            s.row_slots[kept] = slot
            kept += 1
    clock[ROWS] = kept
    out.used[2] = row


@kernel
def sample(clock: Any, hosts: Any, tasks: Any, clusters: Any, s: Any, trace: Any, out: Any, final: Any) -> None:
    """Write all rows of one sample; ``final`` for the one at the end of the run."""
    now = clock[NOW]
    row = out.used[0]
    out.used[0] = row + 1
    out.sample_ms[row] = now
    out.service[row, 0] = len(hosts)
    out.service[row, 1] = 0
    out.service[row, 2] = clock[SUBMITTED]
    out.service[row, 3] = clock[QUEUE_TAIL] - clock[QUEUE_HEAD]
    out.service[row, 4] = clock[ACTIVE]
    out.service[row, 5] = clock[COMPLETED]
    out.service[row, 6] = clock[TERMINATED]
    for c in range(len(clusters)):
        settle_cluster(clusters, c, now)
        close_piece(clusters, c)
        out.source[row, c, 0] = clusters[c].power_w
        out.source[row, c, 1] = clusters[c].energy_j
        out.source[row, c, 2] = clusters[c].intensity
        out.source[row, c, 3] = clusters[c].carbon_g
        clusters[c].energy_j = 0.0
        clusters[c].carbon_g = 0.0
    if clock[KNOTS] > 0:
        sample_occupancy(clock, hosts, s, trace, out, row)
    if clock[HOST_EVERY] > 0 and (final or clock[TICK_NUMBER] % clock[HOST_EVERY] == 0):
        sample_hosts(clock, hosts, tasks, out)
    if clock[TASK_ROWS] == 1:
        sample_tasks(clock, hosts, tasks, s, out)
