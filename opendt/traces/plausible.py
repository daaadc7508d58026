"""Numbers that look like another unit: they would be simulated without complaint, and the results be nonsense."""

from __future__ import annotations

import numpy as np

from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.power.curves import power_w
from opendt.traces.reader import Trace

# How far outside its range a mean may be before its unit is doubted: data sheets are wrong by two, units by 1,000.
DOUBT = 5.0
# Share of a core's speed [unitless] that at least one task of any real recording exceeds at some time.
LEAST_USAGE = 0.01
MOST_G_PER_KWH, LEAST_G_PER_KWH = 2_500.0, 1.0  # coal has about 1,000, hydropower and wind about 10


def doubts(trace: Trace) -> list[str]:
    """What looks like another unit, one sentence each without a full stop."""
    found = []
    if trace.topology is not None:
        found += _usage(trace.workload, trace.topology)
        if trace.power is not None:
            found += _power(trace.power, trace.topology)
    if trace.carbon is not None:
        found += _carbon(trace.carbon)
    return found


def _power(power: PowerSeries, topology: Topology) -> list[str]:
    types = [host for cluster in topology.clusters for host in cluster.hosts]
    watts = sum(host.count * power_w(host.cpuPowerModel, np.array([0.0, 1.0])) for host in types)
    low_w, high_w = float(np.min(watts)), float(np.max(watts))
    mean_w = float(power.power_w.mean())
    if low_w / DOUBT <= mean_w <= high_w * DOUBT:
        return []
    return [
        f"measured power is {mean_w:,.4g} W on average, where the topology draws {low_w:,.0f} to {high_w:,.0f} W: "
        "is power_draw in watts, and of the whole datacenter?"
    ]


def _usage(workload: Workload, topology: Topology) -> list[str]:
    fragments = workload.fragments
    if not len(fragments):
        return []
    types = [host for cluster in topology.clusters for host in cluster.hosts]
    slowest_mhz = min(host.cpu.coreSpeed for host in types)
    largest_mhz = max(host.capacity_mhz for host in types)
    cores = np.repeat(np.maximum(workload.tasks.cpu_count, 1), workload.tasks.fragment_count)
    most_mhz = float((fragments.cpu_usage_mhz / cores).max())
    if 0 < most_mhz < LEAST_USAGE * slowest_mhz:
        return [
            f"no task ever uses more than {most_mhz:,.4g} MHz of a core, which has {slowest_mhz:,.0f}: "
            "is cpu_usage in MHz?"
        ]
    used_mhz = fragments.cpu_usage_mhz[fragments.cpu_usage_mhz > 0]
    usual_mhz = float(np.median(used_mhz)) if len(used_mhz) else 0.0
    if usual_mhz > DOUBT * largest_mhz:
        return [
            f"fragments use {usual_mhz:,.4g} MHz as a rule, where the largest host has {largest_mhz:,.0f}: "
            "is cpu_usage in MHz?"
        ]
    return []


def _carbon(carbon: CarbonTrace) -> list[str]:
    mean = float(carbon.intensity_g_per_kwh.mean())
    if LEAST_G_PER_KWH <= mean <= MOST_G_PER_KWH:
        return []
    return [f"carbon intensity is {mean:,.4g} g/kWh on average: is carbon_intensity in gCO2/kWh?"]
