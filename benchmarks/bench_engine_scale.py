"""How the native engine's cost grows with tasks and hosts, on generated traces.

Usage::

    python benchmarks/bench_engine_scale.py [--tasks 1e4 1e5 1e6] [--hosts 1e2 1e3 1e4 1e5] [--out FILE]

Every task has ten fragments. Tasks grow at 10,000 hosts (fewer for the smallest), hosts grow at 100,000 tasks; the load
stays at 60 % of the cores. Each size runs in a process of its own, so that memory is that of the size alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FRAGMENTS, CORES, SPEED = 10, 16, 2100.0
RESULTS = Path(__file__).parent / "results/engine_scale.json"


def generated(tasks: int, hosts: int, seed: int = 0):
    """A topology and a workload that keeps 60 % of its cores busy."""
    from opendt.models.topology import parse_topology
    from opendt.models.workload import Fragments, Workload, make_tasks

    rng = np.random.default_rng(seed)
    duration = rng.integers(30, 600, size=tasks * FRAGMENTS) * 1000
    cpu = rng.choice([1, 2, 4, 8], size=tasks).astype(np.int32)
    per_second = 0.6 * hosts * CORES / float(cpu.mean()) / (duration.mean() / 1000 * FRAGMENTS)
    submission = 1_700_000_000_000 + (np.cumsum(rng.exponential(1 / per_second, size=tasks)) * 1000).astype(np.int64)
    ids = np.arange(tasks)
    made = make_tasks(
        ids, submission, cpu_count=cpu, mem_capacity=rng.integers(1, 8000, size=tasks) * 1000,
        fragment_count=np.full(tasks, FRAGMENTS), has_cpu_usage=np.ones(tasks, np.bool_), name=np.full(tasks, "t"),
    )  # fmt: skip
    usage = np.repeat(cpu, FRAGMENTS) * SPEED * rng.random(tasks * FRAGMENTS)
    fragments = Fragments(np.repeat(ids, FRAGMENTS), duration, usage, np.zeros(tasks * FRAGMENTS))
    curve = {"modelType": "mse", "idlePower": 25, "maxPower": 174, "calibrationFactor": 4}
    host = {
        "name": "H", "count": hosts, "cpu": {"coreCount": CORES, "coreSpeed": SPEED}, "memory": {"memorySize": 128_000},
        "cpuPowerModel": curve,
    }  # fmt: skip
    return parse_topology({"clusters": [{"name": "C", "hosts": [host]}]}), Workload(made, fragments)


def measure(tasks: int, hosts: int) -> dict[str, float]:
    """Simulate one size twice and keep the second run."""
    from opendt.engine.base import EngineOptions, simulate
    from opendt.engine.bench import peak_rss_mb
    from opendt.engine.native.engine import NativeEngine

    topology, workload = generated(tasks, hosts)
    options = EngineOptions(sample_interval_ms=150_000, host_every=0)
    before_mb = peak_rss_mb()
    wall_s = cpu_s = 0.0
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        result = simulate(NativeEngine(), topology, workload, options)
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "tasks": tasks, "fragments": tasks * FRAGMENTS, "hosts": hosts, "completed": result.tasks_completed,
        "wall_s": wall_s, "cpu_s": cpu_s, "peak_rss_mb": peak_rss_mb(), "input_rss_mb": before_mb,
    }  # fmt: skip


def main() -> None:
    """Measure all sizes and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=float, nargs="*", default=[1e4, 1e5, 1e6])
    parser.add_argument("--hosts", type=float, nargs="*", default=[1e2, 1e3, 1e4, 1e5])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", type=float, nargs=2, metavar=("TASKS", "HOSTS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(int(chosen.one[0]), int(chosen.one[1]))))
        return
    from opendt.engine.bench import machine

    sizes = [(t, min(1e4, t / 100)) for t in chosen.tasks] + [(1e5, h) for h in chosen.hosts]
    rows = []
    for tasks, hosts in sizes:
        command = [sys.executable, __file__, "--one", str(tasks), str(hosts)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        print(
            f"{tasks:>10,.0f} tasks {hosts:>8,.0f} hosts  {rows[-1]['wall_s']:7.2f} s wall  {rows[-1]['cpu_s']:7.2f} s "
            f"processor  {rows[-1]['peak_rss_mb']:6.0f} MB"
        )
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({"machine": machine(), "sizes": rows}, indent=1) + "\n")
    print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
