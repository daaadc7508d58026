"""Families of random worlds, each around one part of what OpenDC simulates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

EPOCH_MS = 1_664_582_400_000  # 2022-10-01
FILES = ("host", "task", "powerSource", "service")
Rng = np.random.Generator


@dataclass
class World:
    """A scenario before it is written: JSON objects and columns."""

    topology: dict[str, Any]
    tasks: list[dict[str, Any]]
    fragments: list[tuple[int, int, float]]
    interval_s: int = 30
    scaling: str = "NoDelay"
    policy: dict[str, Any] | None = None
    carbon: tuple[list[int], list[float]] | None = None
    failures: list[tuple[int, int, float]] | None = None
    checkpoints: dict[str, Any] | None = None
    max_failures: int | None = None
    submission_time: str | None = None
    files: tuple[str, ...] = FILES
    gpu_usage: list[float] = field(default_factory=list)


def power_model(rng: Rng, *, whole_numbers: bool = True) -> dict[str, Any]:
    """A random curve; with fractional usages no ``mse`` of fractional exponent (SEMANTICS 11.3)."""
    idle = float(rng.integers(20, 150))
    model: dict[str, Any] = {
        "modelType": str(rng.choice(["constant", "sqrt", "linear", "square", "cubic", "mse", "mse", "asymptotic"])),
        "idlePower": idle,
        "maxPower": idle + float(rng.integers(0, 300)),
    }
    if model["modelType"] == "constant":
        model["power"] = float(rng.integers(50, 300))
    elif model["modelType"] == "mse":
        model["calibrationFactor"] = round(float(rng.uniform(0.5, 8)), 2) if whole_numbers else int(rng.integers(1, 8))
    elif model["modelType"] == "asymptotic":
        model["asymUtil"] = round(float(rng.uniform(0.05, 0.9)), 2)
        model["dvfs"] = bool(rng.integers(2))
    return model


def host(rng: Rng, count: int, cores: int, memory_mib: int, **more: Any) -> dict[str, Any]:
    """A HOST entry."""
    sockets = 2 if cores % 2 == 0 and rng.random() < 0.3 else 1
    cpu = {
        "coreCount": cores // sockets,
        "coreSpeed": int(rng.choice([1000, 1500, 2100, 2600, 3333])),
        "count": sockets,
    }
    entry = {"name": f"H{cores}", "count": count, "cpu": cpu, "memory": {"memorySize": memory_mib}}
    return entry | {"cpuPowerModel": power_model(rng)} | more


def cluster(hosts: list[dict[str, Any]], name: str | None = "C01", **more: Any) -> dict[str, Any]:
    """A CLUSTER; without a name OpenDC gives one."""
    return ({} if name is None else {"name": name}) | {"hosts": hosts} | more


def capacity(entry: dict[str, Any]) -> float:
    """MHz of one host of an entry."""
    cpu = entry["cpu"]
    return float(cpu["coreCount"] * cpu["coreSpeed"] * cpu["count"])


def hosts_of(topology: dict[str, Any]) -> list[dict[str, Any]]:
    """All HOST entries of a topology."""
    return [entry for c in topology["clusters"] for entry in c["hosts"]]


def datacenter(rng: Rng, *, hosts: int, clusters: int = 1) -> dict[str, Any]:
    """Clusters of one to three host types; the largest host leads in cores and in memory."""
    made = []
    for _ in range(clusters):
        kinds = int(rng.integers(1, 4))
        sizes = sorted(rng.choice([2, 4, 8, 16, 24], kinds, replace=False).tolist(), reverse=True)
        share = max(1, hosts // (clusters * kinds))
        entries = [host(rng, int(rng.integers(1, share + 1)), size, size * 4_000) for size in sizes]
        if rng.random() < 0.4:
            rng.shuffle(entries)
        made.append(cluster(entries, str(rng.choice(["C01", "C02"])) if rng.random() < 0.8 else None))
    return {"clusters": made}


def workload(
    rng: Rng,
    topology: dict[str, Any],
    count: int,
    *,
    span_s: int,
    overload: float = 0.9,
    fragments: int = 12,
    grid_ms: int = 1,
    zeros: float = 0.05,
    whole_numbers: bool = True,
) -> tuple[list[dict[str, Any]], list[tuple[int, int, float]]]:
    """Tasks that fit the largest host, with random fragments; usage up to ``overload`` x reserved cores."""
    largest = max(hosts_of(topology), key=lambda h: h["cpu"]["coreCount"] * h["cpu"]["count"])
    cores = largest["cpu"]["coreCount"] * largest["cpu"]["count"]
    speed, memory = largest["cpu"]["coreSpeed"], largest["memory"]["memorySize"]
    tasks, rows = [], []
    for number in rng.permutation(count).tolist() if rng.random() < 0.5 else range(count):
        cpu_count = int(rng.integers(1, max(2, cores // 2 + 1))) if rng.random() < 0.9 else cores
        pieces = int(rng.integers(1, fragments + 1)) if rng.random() > 0.05 else 0
        duration = (rng.integers(0, 120_000, pieces) // grid_ms) * grid_ms
        usage = rng.uniform(0, overload * cpu_count * speed, pieces)
        usage = np.round(usage) if whole_numbers else usage
        usage[rng.random(pieces) < zeros] = 0.0
        duration[rng.random(pieces) < zeros] = 0
        rows += [(int(number), int(d), float(u)) for d, u in zip(duration, usage, strict=True)]
        tasks.append({
            "id": int(number),
            "submission_time": EPOCH_MS + int(rng.integers(0, span_s * 1000) // grid_ms * grid_ms),
            "duration": int(duration.sum()),
            "cpu_count": cpu_count,
            "cpu_capacity": float(cpu_count * int(rng.integers(0, speed + 1))),
            "mem_capacity": int(rng.integers(0, memory // 2 * 1000)) if rng.random() < 0.9 else memory * 1000,
        })  # fmt: skip
    if not rows:
        rows.append((tasks[0]["id"], 60_000, 500.0))
    order = rng.permutation(len(rows)) if rng.random() < 0.3 else np.arange(len(rows))
    return tasks, [rows[i] for i in order]


def carbon_trace(rng: Rng, span_s: int) -> tuple[list[int], list[float]]:
    """Steps at odd times, sometimes unsorted, starting before or after the workload."""
    steps = int(rng.integers(1, 30))
    start = EPOCH_MS + int(rng.integers(-600_000, 120_000))
    time = start + np.cumsum(rng.integers(1, max(2, span_s * 2000 // steps), steps))
    order = rng.permutation(steps) if rng.random() < 0.5 else np.arange(steps)
    values = np.round(rng.uniform(0, 600, steps), 3)
    return time[order].tolist(), values[order].tolist()


def plain(rng: Rng) -> World:
    topology = datacenter(rng, hosts=int(rng.integers(1, 12)))
    tasks, rows = workload(rng, topology, int(rng.integers(1, 80)), span_s=int(rng.integers(1, 3000)))
    return World(topology, tasks, rows, int(rng.choice([1, 7, 10, 30, 45, 60, 150, 300])))


def queueing(rng: Rng) -> World:
    topology = datacenter(rng, hosts=2)
    tasks, rows = workload(rng, topology, int(rng.integers(30, 120)), span_s=int(rng.integers(1, 400)))
    for index in rng.choice(len(tasks), 2, replace=False):
        tasks[index]["cpu_count" if rng.random() < 0.5 else "mem_capacity"] = 2_000_000_000
    return World(topology, tasks, rows, int(rng.choice([5, 30, 60])))


def contention(rng: Rng) -> World:
    topology = datacenter(rng, hosts=int(rng.integers(1, 6)))
    overload = float(rng.uniform(1.2, 3.0))
    tasks, rows = workload(rng, topology, int(rng.integers(5, 60)), span_s=900, overload=overload)
    return World(topology, tasks, rows, int(rng.choice([10, 30, 60])))


def contention_perfect(rng: Rng) -> World:
    world = contention(rng)
    world.scaling = "Perfect"
    return world


def fractions(rng: Rng) -> World:
    topology = datacenter(rng, hosts=int(rng.integers(1, 6)))
    for entry in hosts_of(topology):
        entry["cpuPowerModel"] = power_model(rng, whole_numbers=False)
    tasks, rows = workload(rng, topology, int(rng.integers(5, 60)), span_s=900, overload=1.5, whole_numbers=False)
    return World(topology, tasks, rows, 30, scaling=str(rng.choice(["NoDelay", "Perfect"])))


def coincident(rng: Rng) -> World:
    topology = datacenter(rng, hosts=int(rng.integers(1, 5)))
    grid = int(rng.choice([1_000, 5_000, 10_000, 30_000]))
    tasks, rows = workload(
        rng,
        topology,
        int(rng.integers(5, 60)),
        span_s=300,
        grid_ms=grid,
        zeros=0.2,
        overload=float(rng.uniform(0.8, 2)),
    )
    return World(
        topology,
        tasks,
        rows,
        int(rng.choice([1, 5, 10, 30])),
        scaling=str(rng.choice(["NoDelay", "NoDelay", "Perfect"])),
    )


def zeros(rng: Rng) -> World:
    topology = datacenter(rng, hosts=2)
    tasks, rows = workload(rng, topology, int(rng.integers(3, 30)), span_s=300, zeros=0.6, fragments=5)
    return World(topology, tasks, rows, 20, scaling=str(rng.choice(["NoDelay", "Perfect"])))


def clusters(rng: Rng) -> World:
    topology = datacenter(rng, hosts=10, clusters=int(rng.integers(2, 4)))
    span = 1200
    tasks, rows = workload(
        rng, topology, int(rng.integers(20, 100)), span_s=span, overload=float(rng.uniform(0.7, 1.6))
    )
    chosen = topology["clusters"][int(rng.integers(len(topology["clusters"])))]
    chosen["powerSource"] = {"carbonTracePath": "carbon.parquet"}
    return World(topology, tasks, rows, 30, carbon=carbon_trace(rng, span))


def carbon(rng: Rng) -> World:
    world = plain(rng)
    world.topology["clusters"][0]["powerSource"] = {"name": "Grid", "carbonTracePath": "carbon.parquet"}
    world.carbon = carbon_trace(rng, 3000)
    if rng.random() < 0.5:
        world.submission_time = "2022-10-01T00:03:00"
    return world


PREFABS = (
    "Mem", "MemInv", "CoreMem", "CoreMemInv", "ActiveServers", "ActiveServersInv", "ProvisionedCores",
    "ProvisionedCoresInv", "Random", "TaskNumMemorizing",
)  # fmt: skip


def prefab(rng: Rng) -> World:
    topology = datacenter(rng, hosts=12)
    tasks, rows = workload(rng, topology, int(rng.integers(40, 140)), span_s=600)
    return World(topology, tasks, rows, 60, policy={"type": "prefab", "policyName": str(rng.choice(PREFABS))})


def filters(rng: Rng) -> World:
    topology = datacenter(rng, hosts=12)
    tasks, rows = workload(rng, topology, int(rng.integers(40, 140)), span_s=600)
    chosen: list[dict[str, Any]] = [
        {"type": "Compute"},
        {"type": "VCpu", "allocationRatio": float(rng.choice([1.0, 1.5, 2.0, 4.0]))},
        {"type": "Ram", "allocationRatio": float(rng.choice([1.0, 1.25, 2.0]))},
    ]
    if rng.random() < 0.3:
        chosen.append({"type": "InstanceCount", "limit": int(rng.integers(1, 6))})
    if rng.random() < 0.3:
        for task in tasks:
            task["cpu_capacity"] = float(task["cpu_count"] * int(rng.integers(0, 1000)))
        chosen.append({"type": "VCpuCapacity"})
    names = rng.choice(
        ["Ram", "CoreRam", "InstanceCount", "VCpu", "VCpuCapacity"], int(rng.integers(0, 4)), replace=False
    )
    weighers = [
        {"type": str(n), "multiplier": float(rng.choice([1.0, 0.5, 2.0] if n == "VCpu" else [1.0, -1.0, 0.5, 3.0]))}
        for n in names
    ]
    size = int(rng.choice([1, 1, 2, 5]))
    policy = {"type": "filter", "filters": chosen, "weighers": weighers, "subsetSize": size}
    return World(topology, tasks, rows, 60, policy=policy)


def dependencies(rng: Rng) -> World:
    topology = datacenter(rng, hosts=3)
    tasks, rows = workload(rng, topology, int(rng.integers(5, 40)), span_s=200)
    have = {row[0] for row in rows}
    runnable = [t for t in tasks if t["id"] in have]
    for index, task in enumerate(runnable):
        task["parents"] = []
        if index and rng.random() < 0.6:
            earlier = rng.choice(index, min(index, int(rng.integers(1, 3))), replace=False)
            task["parents"] = [runnable[i]["id"] for i in earlier]
    for task in runnable:
        task["children"] = [t["id"] for t in runnable if task["id"] in t["parents"]]
    return World(topology, runnable, rows, 20)


def failures(rng: Rng) -> World:
    """All hosts fail at times; one host only, since OpenDC shuffles several with an unseeded generator."""
    cores = int(rng.choice([4, 8, 16]))
    topology = {"clusters": [cluster([host(rng, 1, cores, cores * 4_000)])]}
    tasks, rows = workload(rng, topology, int(rng.integers(1, 20)), span_s=300, fragments=6)
    trace = [
        (int(rng.integers(30_000, 900_000)), int(rng.integers(1, 120_000)), 1.0) for _ in range(int(rng.integers(1, 4)))
    ]
    world = World(topology, tasks, rows, 30, failures=trace)
    if rng.random() < 0.5:
        world.checkpoints = {
            "checkpointInterval": int(rng.integers(20_000, 120_000)),
            "checkpointDuration": int(rng.integers(0, 5_000)),
            "checkpointIntervalScaling": float(rng.choice([1.0, 1.5])),
        }
    if rng.random() < 0.3:
        world.max_failures = int(rng.integers(1, 3))
    return world


def checkpoints(rng: Rng) -> World:
    world = plain(rng)
    world.checkpoints = {
        "checkpointInterval": int(rng.integers(20_000, 300_000)),
        "checkpointDuration": int(rng.integers(1, 9_000)),
    }
    return world


def battery(rng: Rng) -> World:
    world = carbon(rng)
    low = float(rng.integers(50, 300))
    policies = [
        {"type": "single", "carbonThreshold": low},
        {"type": "double", "lowerThreshold": low, "upperThreshold": low + 150.0},
        {"type": "runningMean", "startingThreshold": low, "windowSize": int(rng.integers(1, 8))},
        {"type": "runningMeanPlus", "startingThreshold": low, "windowSize": int(rng.integers(1, 8))},
    ]
    size = round(float(rng.uniform(0.005, 0.5)), 3)
    world.topology["clusters"][0]["battery"] = {
        "capacity": size, "chargingSpeed": float(rng.integers(50, 2000)), "initialCharge": round(size / 2, 4),
        "batteryPolicy": policies[int(rng.integers(4))], "embodiedCarbon": 100.0, "expectedLifetime": 5.0,
    }  # fmt: skip
    world.files = (*FILES, "battery")
    return world


def gpus(rng: Rng) -> World:
    topology = datacenter(rng, hosts=2)
    for entry in hosts_of(topology):
        entry["gpu"] = {"count": int(rng.integers(1, 4)), "coreCount": 1, "coreSpeed": 2000, "memorySize": 1000}
        entry["gpuPowerModel"] = {"modelType": "linear", "idlePower": 20.0, "maxPower": 220.0}
    tasks, rows = workload(rng, topology, int(rng.integers(1, 15)), span_s=300)
    for task in tasks:
        task["gpu_count"], task["gpu_capacity"] = 1, 2000.0
    usage = [float(u) for u in np.round(rng.uniform(0, 1500, len(rows)))]
    return World(topology, tasks, rows, 20, gpu_usage=usage)


def gpu_policies(rng: Rng) -> World:
    world = gpus(rng)
    for entry in hosts_of(world.topology):
        entry["count"] = 4
    name = "ProvisionedCpuGpuCores" + str(rng.choice(["", "Inv"]))
    world.policy = {"type": "prefab", "policyName": name}
    return world


def timeshift(rng: Rng) -> World:
    """Deferrable tasks under hourly carbon values; with and without forecast, memorizing and task stopper."""
    topology = datacenter(rng, hosts=6)
    topology["clusters"][0]["powerSource"] = {"carbonTracePath": "carbon.parquet"}
    tasks, rows = workload(rng, topology, int(rng.integers(10, 60)), span_s=40_000, fragments=30)
    for task in tasks:
        task["nature"] = str(rng.choice(["deferrable", "interactive"]))
        slack = int(rng.integers(0, 80_000_000))
        task["deadline"] = task["submission_time"] + task["duration"] + slack if rng.random() < 0.9 else -1
    hours = 48
    times = [EPOCH_MS - 3_600_000 + h * 3_600_000 for h in range(hours)]
    values = np.round(300 + 200 * np.sin(np.arange(hours) / 24 * 2 * np.pi) + rng.uniform(-60, 60, hours), 2)
    if rng.random() < 0.3:
        return World(topology, tasks, rows, 600, carbon=(times, values.tolist()),
                     policy={"type": "prefab", "policyName": "Timeshift"})  # fmt: skip
    policy: dict[str, Any] = {
        "type": "timeshift",
        "filters": [{"type": "Compute"}, {"type": "VCpu"}, {"type": "Ram", "allocationRatio": 1.5}],
        "weighers": [{"type": "Ram"}] if rng.random() < 0.5 else [],
        "windowSize": int(rng.choice([6, 24, 168])),
        "forecast": bool(rng.integers(2)),
        "forecastSize": int(rng.choice([6, 24])),
        "shortForecastThreshold": float(rng.choice([0.2, 0.5])),
        "longForecastThreshold": float(rng.choice([0.35, 0.6])),
        "memorize": bool(rng.integers(2)),
    }
    if rng.random() < 0.3:
        policy["taskStopper"] = {"forecast": bool(rng.integers(2))}
    return World(topology, tasks, rows, 600, carbon=(times, values.tolist()), policy=policy)


FAMILIES: dict[str, Callable[[Rng], World]] = {
    f.__name__: f
    for f in (
        plain, queueing, contention, contention_perfect, fractions, coincident, zeros, clusters, carbon, prefab,
        filters, dependencies, failures, checkpoints, battery, gpus, gpu_policies, timeshift,
    )
}  # fmt: skip
