"""How the native engine's cost grows with tasks and hosts, and what OpenDC needs for the same week.

Usage::

    python benchmarks/bench_engine_scale.py [--tasks 1e4 1e5 1e6] [--hosts 1e2 1e3 1e4 1e5] [--exact 1e3 1e4]
        [--trace DIR] [--rounds 3] [--out FILE]
    python benchmarks/chart_engine.py        # docs/images/engine-speed.svg from the results

Generated traces: every task has ten fragments; tasks grow at 10,000 hosts (fewer for the smallest), hosts grow at
100,000 tasks; the load stays at 60 % of the cores. Each size runs in a process of its own, so that memory is that of
the size alone. The step-by-step engine (``--exact``) simulates at 100 hosts.

With ``--trace`` (default: the SURF week beside the project) OpenDC and the native engine take turns, both from files
to files in a new process with all four tables at 150 s; the native one also in memory. OpenDC's part needs OPENDC_HOME
and Java, and is left out with the reason where one is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FRAGMENTS, CORES, SPEED = 10, 16, 2100.0
INTERVAL_S, EXACT_HOSTS = 150, 100
RESULTS = HERE / "results/engine_scale.json"
SURF = Path(os.environ.get("OPENDT_SHARED", HERE.parents[1] / "shared")) / "traces/surf"


def generated(tasks: int, hosts: int, seed: int = 0) -> tuple[Any, Any]:
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


def measure(tasks: int, hosts: int, *, exact: bool) -> dict[str, float]:
    """Simulate one size twice and keep the second run (once step by step, which compiles nothing)."""
    from opendt.engine.base import EngineOptions, simulate
    from opendt.engine.bench import peak_rss_mb
    from opendt.engine.native.engine import NativeEngine

    topology, workload = generated(tasks, hosts)
    options = EngineOptions(sample_interval_ms=INTERVAL_S * 1000, host_every=0, exact=exact)
    before_mb = peak_rss_mb()
    wall_s = cpu_s = 0.0
    for _ in range(1 if exact else 2):
        wall, cpu = time.perf_counter(), time.process_time()
        result = simulate(NativeEngine(), topology, workload, options)
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "tasks": tasks, "fragments": tasks * FRAGMENTS, "hosts": hosts, "completed": result.tasks_completed,
        "wall_s": wall_s, "cpu_s": cpu_s, "fragments_per_cpu_s": tasks * FRAGMENTS / cpu_s,
        "peak_rss_mb": peak_rss_mb(), "input_rss_mb": before_mb,
    }  # fmt: skip


def own(values: list[str], option: str) -> dict[str, Any]:
    """What this script prints for a hidden option, in a process of its own."""
    command = [sys.executable, __file__, option, *values]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def in_own_process(tasks: float, hosts: float, *, exact: bool = False) -> dict[str, Any]:
    """``measure`` in a process of its own, and a line about it."""
    row = own([str(tasks), str(hosts), str(int(exact))], "--one")
    print(
        f"{tasks:>10,.0f} tasks {hosts:>8,.0f} hosts{' exact' if exact else ''}  {row['wall_s']:7.2f} s wall  "
        f"{row['cpu_s']:7.2f} s processor  {row['peak_rss_mb']:6.0f} MB",
        flush=True,
    )
    return row


def timed(command: list[str], folder: Path, extra: dict[str, str] | None = None) -> dict[str, float]:
    """Wall and processor time [s] and peak memory [MB] of a program; raises when it fails."""
    begin = time.perf_counter()
    with open(folder / "said.txt", "wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={**os.environ, **(extra or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed ({process.returncode}): {(folder / 'said.txt').read_text()[-2000:]}")
    wall_s = time.perf_counter() - begin
    return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_rss_mb": usage.ru_maxrss / 1024}


def prepare(source: Path, folder: Path) -> dict[str, Any]:
    """OpenDC's inputs written into ``folder``, and the command that simulates them, or why there is none."""
    from opendt.engine.bench import all_tables
    from opendt.engine.opendc import inputs
    from opendt.engine.opendc.install import find_installation
    from opendt.engine.opendc.runner import command_line
    from opendt.errors import MissingDependencyError
    from opendt.traces import read_trace

    home = os.environ.get("OPENDC_HOME")
    try:
        installation = find_installation(Path(home) if home else None, None)
    except MissingDependencyError as error:
        return {"left_out": str(error)}
    trace = read_trace(source)
    assert trace.topology is not None
    ids = inputs.runner_ids(trace.workload.tasks.task_id)
    inputs.write_table(inputs.task_table(trace.workload, ids), folder / inputs.WORKLOAD / "tasks.parquet")
    inputs.write_table(inputs.fragment_table(trace.workload, ids), folder / inputs.WORKLOAD / "fragments.parquet")
    if trace.carbon is not None:
        inputs.write_table(inputs.carbon_table(trace.carbon), folder / inputs.CARBON)
    (folder / "topology.json").write_bytes(inputs.topology_json(trace.topology, trace.carbon))
    exports = [inputs.Export(INTERVAL_S, ("host", "task", "powerSource", "service"))]
    experiment = inputs.experiment_json(["topology.json"], all_tables(INTERVAL_S), exports, 1)
    (folder / "experiment.json").write_text(json.dumps(experiment))
    command, extra = command_line(installation, "experiment.json", ["--enable-native-access=ALL-UNNAMED"])
    return {"command": command, "extra": extra}


def beside_opendc(folder: Path, rounds: int) -> dict[str, Any]:
    """The week by OpenDC and by the native engine, in turns; medians, with every run kept."""
    from opendt.engine import get_engine
    from opendt.engine.bench import bench_simulate

    runs: dict[str, list[dict[str, float]]] = {"native": [], "opendc": []}
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as name:
        place = Path(name)
        native = [sys.executable, "-c", "from opendt.cli import app; app()", "simulate", "--trace",
                  str(folder.resolve()), "--interval", str(INTERVAL_S), "--out", str(place / "native")]  # fmt: skip
        commands: dict[str, tuple[list[str], dict[str, str]]] = {"native": (native, {})}
        # In a process of its own: a program starts with the peak memory of the one that starts it.
        opendc = own([str(folder.resolve()), str(place)], "--prepare")
        if "left_out" in opendc:
            print(f"OpenDC is left out: {opendc['left_out']}")
        else:
            commands["opendc"] = (opendc["command"], opendc["extra"])
        for number in range(rounds):
            for engine, (command, extra) in commands.items():
                runs[engine].append(timed(command, place, extra))
                print(f"round {number + 1}: {engine} {runs[engine][-1]['wall_s']:.2f} s wall "
                      f"{runs[engine][-1]['cpu_s']:.2f} s processor", flush=True)  # fmt: skip
    figures = {
        engine: {key: median(run[key] for run in found) for key in found[0]} | {"runs": found}
        for engine, found in runs.items() if found
    }  # fmt: skip
    in_memory = bench_simulate(get_engine("native"), folder, repeat=max(rounds, 3), interval_s=INTERVAL_S)
    in_memory.pop("machine")
    in_memory["trace"] = folder.name
    return {
        "trace": folder.name, "interval_s": INTERVAL_S, "files_to_files": figures,
        "opendc_left_out": opendc.get("left_out"), "in_memory": in_memory,
    }  # fmt: skip


def main() -> None:
    """Measure all sizes and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=float, nargs="*", default=[1e4, 1e5, 1e6])
    parser.add_argument("--hosts", type=float, nargs="*", default=[1e2, 1e3, 1e4, 1e5])
    parser.add_argument("--exact", type=float, nargs="*", default=[1e3, 1e4])
    parser.add_argument("--trace", type=Path, default=SURF)
    parser.add_argument("--rounds", type=int, default=3, help="turns of OpenDC and the native engine; 0 for none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", type=float, nargs=3, metavar=("TASKS", "HOSTS", "EXACT"), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=Path, nargs=2, metavar=("TRACE", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.prepare:
        print(json.dumps(prepare(*chosen.prepare)))
        return
    if chosen.one:
        print(json.dumps(measure(int(chosen.one[0]), int(chosen.one[1]), exact=bool(chosen.one[2]))))
        return
    from opendt.engine.bench import machine

    found: dict[str, Any] = {"machine": machine()}
    if chosen.rounds and chosen.trace.is_dir():
        found["week"] = beside_opendc(chosen.trace, chosen.rounds)
    elif chosen.rounds:
        print(f"no trace at {chosen.trace}: OpenDC is not compared")
    found["by_tasks"] = [in_own_process(tasks, min(1e4, tasks / 100)) for tasks in chosen.tasks]
    found["by_hosts"] = [in_own_process(1e5, hosts) for hosts in chosen.hosts]
    found["exact"] = [in_own_process(tasks, EXACT_HOSTS, exact=True) for tasks in chosen.exact]
    found["machine"]["load_average_end"] = round(os.getloadavg()[0], 2)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
