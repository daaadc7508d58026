"""What a trace holds, as plain values for people and programs (``opendt trace info``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Tasks
from opendt.traces.plausible import doubts
from opendt.traces.reader import Trace
from opendt.traces.slicing import fragment_begin_ms
from opendt.units import J_PER_KWH, MS_PER_HOUR, MS_PER_S, iso, mem_capacity_to_mib

_QUANTILES = (5, 25, 50, 75, 95)


def summarise(trace: Trace) -> dict[str, Any]:
    """Counts, spans, statistics and warnings of a trace; every value fits JSON.

    ``span`` runs from the first submission to the end of the last fragment if every task starts on submission.
    ``usage.per_core_ratio`` is time-weighted usage over the task's reserved cores.
    """
    workload, report = trace.workload, trace.report
    tasks, fragments = workload.tasks, workload.fragments
    begin = fragment_begin_ms(tasks, fragments)
    last_end = int(max((begin + fragments.duration_ms).max(initial=trace.origin_ms), tasks.submission_ms.max()))
    return {
        "name": trace.name,
        "path": str(trace.path),
        "tasks": {
            "seen": report.task_rows,
            "runnable": report.runnable,
            "without_fragments": report.tasks_without_fragments,
            "invalid": report.tasks_invalid,
            "with_parents": len(tasks.parents),
            "deferrable": int(tasks.deferrable.sum()),
            "with_gpu": int((tasks.gpu_count > 0).sum()),
        },
        "fragments": {"seen": report.fragment_rows, "used": report.fragments},
        "dropped": report.dropped,
        "repaired": report.repaired,
        "span": {
            "start": iso(trace.origin_ms),
            "last_submission": iso(int(tasks.submission_ms.max())),
            "end": iso(last_end),
            "hours": (last_end - trace.origin_ms) / MS_PER_HOUR,
        },
        "cores": _cores(tasks),
        "duration_s": _spread(tasks.duration_ms[workload.runnable] / MS_PER_S),
        "usage": _usage(trace),
        "power": None if trace.power is None else _power(trace.power),
        "carbon": None if trace.carbon is None else _carbon(trace.carbon, trace.origin_ms, last_end),
        "topology": None if trace.topology is None else _topology(trace.topology),
        "warnings": _warnings(trace, last_end),
        "sha256": trace.sha256,
    }


def _cores(tasks: Tasks) -> dict[str, Any]:
    runnable = tasks.cpu_count[tasks.fragment_count > 0]
    size, count = np.unique(runnable, return_counts=True)
    return {
        "largest": int(runnable.max(initial=0)),
        "tasks_by_cores": dict(zip(size.tolist(), count.tolist(), strict=True)),
    }


def _usage(trace: Trace) -> dict[str, Any]:
    tasks, fragments = trace.workload.tasks, trace.workload.fragments
    weight_s = fragments.duration_ms / MS_PER_S
    total_s = float(weight_s.sum())
    mean_mhz = float(fragments.cpu_usage_mhz @ weight_s) / total_s if total_s else 0.0
    return {
        "mean_mhz_total": mean_mhz,
        "max_mhz_total": float(fragments.cpu_usage_mhz.max(initial=0.0)),
        "zero_share_ratio": float((fragments.cpu_usage_mhz == 0).mean()),
        "fragment_duration_s": _spread(weight_s),
        "core_hours_reserved": float(np.repeat(tasks.cpu_count, tasks.fragment_count) @ weight_s) / 3600,
        "mhz_hours": float(fragments.cpu_usage_mhz @ weight_s) / 3600,
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    if len(values) == 0:
        return {}
    quantiles = np.percentile(values, _QUANTILES).tolist()
    named = dict(zip((f"p{q}" for q in _QUANTILES), quantiles, strict=True))
    return {"min": float(values.min()), **named, "max": float(values.max()), "mean": float(values.mean())}


def _power(power: PowerSeries) -> dict[str, Any]:
    step_ms = np.diff(power.timestamp_ms)
    interval_ms = float(np.median(step_ms)) if len(step_ms) else 0.0
    gap = step_ms > 1.5 * interval_ms
    return {
        "samples": len(power),
        "interval_s": interval_ms / MS_PER_S,
        "start": iso(int(power.timestamp_ms[0])),
        "end": iso(int(power.timestamp_ms[-1])),
        "min_w": float(power.power_w.min()),
        "mean_w": float(power.power_w.mean()),
        "max_w": float(power.power_w.max()),
        "energy_kwh": float(power.power_w.sum()) * interval_ms / MS_PER_S / J_PER_KWH,
        "gaps": int(gap.sum()),
        "gap_hours": float((step_ms[gap] - interval_ms).sum() / MS_PER_HOUR),
    }


def _carbon(carbon: CarbonTrace, start_ms: int, end_ms: int) -> dict[str, Any]:
    low = max(0, int(np.searchsorted(carbon.timestamp_ms, start_ms, side="right")) - 1)
    high = max(low + 1, int(np.searchsorted(carbon.timestamp_ms, end_ms)))
    inside = carbon.intensity_g_per_kwh[low:high]
    return {
        "samples": len(carbon),
        "start": iso(int(carbon.timestamp_ms[0])),
        "end": iso(int(carbon.timestamp_ms[-1])),
        "min_g_per_kwh": float(inside.min()),
        "mean_g_per_kwh": float(inside.mean()),
        "max_g_per_kwh": float(inside.max()),
    }


def _topology(topology: Topology) -> dict[str, Any]:
    types = [host for cluster in topology.clusters for host in cluster.hosts]
    return {
        "clusters": len(topology.clusters),
        "hosts": topology.host_count,
        "cores": topology.core_count,
        "capacity_mhz": sum(host.count * host.capacity_mhz for host in types),
        "host_types": [
            {
                "name": host.name,
                "count": host.count,
                "cores": host.cores,
                "core_speed_mhz": host.cpu.coreSpeed,
                "memory_mib": host.memory.memorySize,
                "power_model": host.cpuPowerModel.modelType,
                "idle_w": host.cpuPowerModel.idlePower,
                "max_w": host.cpuPowerModel.maxPower,
            }
            for host in types
        ],
    }


def _warnings(trace: Trace, end_ms: int) -> list[str]:
    found = trace.report.sentences()
    tasks = trace.workload.tasks
    runnable = tasks.take(trace.workload.runnable)
    if trace.topology is not None:
        found += _misfits(runnable, trace.topology)
    ready = set(runnable.task_id.tolist())
    stuck = sum(1 for child in ready & tasks.parents.keys() if not ready.issuperset(tasks.parents[child]))
    if stuck:
        found.append(f"{stuck:,} tasks wait for a parent without fragments and never start")
    if trace.power is not None:
        first, last = int(trace.power.timestamp_ms[0]), int(trace.power.timestamp_ms[-1])
        if last <= trace.origin_ms or first >= end_ms:
            found.append(f"measured power ({iso(first)} to {iso(last)}) lies outside the workload's span")
        gaps = _power(trace.power)["gaps"]
        if gaps:
            found.append(f"measured power has {gaps:,} gaps")
    if trace.carbon is not None and int(trace.carbon.timestamp_ms[0]) > trace.origin_ms:
        found.append(f"carbon intensity begins at {iso(int(trace.carbon.timestamp_ms[0]))}, after the first submission")
    if trace.carbon is not None and int(trace.carbon.timestamp_ms[-1]) < trace.origin_ms:
        found.append(f"carbon intensity ends at {iso(int(trace.carbon.timestamp_ms[-1]))}, before the first submission")
    return found + doubts(trace)


def _misfits(runnable: Tasks, topology: Topology) -> list[str]:
    types = [host for cluster in topology.clusters for host in cluster.hosts]
    memory_mib = mem_capacity_to_mib(runnable.mem_capacity)
    fits = np.zeros(len(runnable), np.bool_)
    for host in types:
        fits |= (runnable.cpu_count <= host.cores) & (memory_mib <= int(host.memory.memorySize))
    misfits = int((~fits).sum())
    return [f"{misfits:,} tasks need more cores or memory than any host has"] if misfits else []
