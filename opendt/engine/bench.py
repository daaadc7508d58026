"""How fast an engine is on a trace: from Parquet files to result tables in memory."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from opendt.engine.base import Engine, EngineOptions, simulate
from opendt.engine.native.arrival import hourly
from opendt.errors import EngineError, TopologyError
from opendt.models.topology import PowerModel
from opendt.power.pricing import price_many
from opendt.traces import read_trace
from opendt.traces.reader import Trace
from opendt.units import MS_PER_S, joules_to_kwh

TRIALS = 1000
Said = Callable[[str], None]


def all_tables(interval_s: int) -> EngineOptions:
    """Options that record every table at every sample."""
    return EngineOptions(sample_interval_ms=interval_s * MS_PER_S, host_every=1, task_rows=True, occupancy_knots=0)


def bench_simulate(
    engine: Engine, folder: Path, *, topology: Path | None = None, repeat: int = 5, interval_s: int = 150,
    say: Said = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Measure an engine on a trace folder; the keys of ``opendt bench simulate --json``.

    ``warm_s`` (median; all runs in ``warm_runs_s``) reads the files and simulates everything in this process, with all
    four tables at every sample; ``warm_cpu_s`` is its processor time, which a busy machine changes less. ``cold_s``
    does so in a new process, from its start. ``windowed_s`` (and ``windowed_cpu_s``) reads the files and advances in
    hourly windows, tables included. ``trials_per_s`` prices the simulated occupancy of the whole trace at 30 s under
    power models. ``peak_rss_mb`` is that of the new process.
    """
    options = all_tables(interval_s)
    say("warming up")
    result = _whole(engine, folder, topology, options)
    runs, processor = [], []
    for number in range(repeat):
        say(f"warm run {number + 1} of {repeat}")
        before = time.process_time()
        runs.append(_timed(lambda: _whole(engine, folder, topology, options)))
        processor.append(time.process_time() - before)
    say("new process")
    cold = _cold(engine.name, folder, topology, interval_s)
    windowed = windowed_cpu = windows = None
    trials = None
    if engine.name == "native":
        say("hourly windows")
        windows = 0
        took, spent = [], []
        for _ in range(max(1, min(repeat, 3))):
            begin, before = time.perf_counter(), time.process_time()
            windows = _windowed(engine, folder, topology, options)
            took.append(time.perf_counter() - begin)
            spent.append(time.process_time() - before)
        windowed, windowed_cpu = median(took), median(spent)
        say("power-model trials")
        trials = _trials_per_s(engine, folder, topology)
    return {
        "engine": engine.name,
        "trace": str(folder),
        "interval_s": interval_s,
        "energy_kwh": float(joules_to_kwh(result.energy_j)),
        "tasks_run": result.tasks_completed,
        "rows": {"host": result.host.num_rows, "task": 0 if result.task is None else result.task.num_rows,
                 "powerSource": result.power_source.num_rows, "service": result.service.num_rows},
        "cold_s": cold["cold_s"],
        "warm_s": median(runs),
        "warm_runs_s": runs,
        "warm_cpu_s": median(processor),
        "windowed_s": windowed,
        "windowed_cpu_s": windowed_cpu,
        "windows": windows,
        "trials_per_s": trials,
        "peak_rss_mb": cold["peak_rss_mb"],
        "machine": machine(),
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """What a result was measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def _timed(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _read(folder: Path, topology: Path | None) -> Trace:
    trace = read_trace(folder, topology=topology)
    if trace.topology is None:
        raise TopologyError(f"{folder} has no topology.json. Give one with --topology.", trace=str(folder))
    return trace


def _whole(engine: Engine, folder: Path, topology: Path | None, options: EngineOptions) -> Any:
    trace = _read(folder, topology)
    assert trace.topology is not None
    return simulate(engine, trace.topology, trace.workload, options, trace.carbon)


_COLD = """
import json, sys
from pathlib import Path
from opendt.engine import get_engine
from opendt.engine.bench import _whole, all_tables, peak_rss_mb
name, folder, topology, interval = sys.argv[1:5]
_whole(get_engine(name), Path(folder), Path(topology) if topology else None, all_tables(int(interval)))
print(json.dumps({"peak_rss_mb": peak_rss_mb()}))
"""


def _cold(name: str, folder: Path, topology: Path | None, interval_s: int) -> dict[str, float]:
    begin = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", _COLD, name, str(folder), str(topology or ""), str(interval_s)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.perf_counter() - begin
    if ran.returncode != 0:
        raise EngineError(
            f"the new process failed: {ran.stderr.strip().splitlines()[-1:]}", engine=name, reason="bench"
        )
    return {"cold_s": took, **json.loads(ran.stdout.splitlines()[-1])}


def _windowed(engine: Engine, folder: Path, topology: Path | None, options: EngineOptions) -> int:
    trace = _read(folder, topology)
    assert trace.topology is not None
    state = engine.start(trace.topology, options, trace.carbon)
    count = 0
    for part, until in hourly(trace.workload):
        state, _ = engine.advance(state, part, until)
        count += 1
    return count


def _trials_per_s(engine: Engine, folder: Path, topology: Path | None) -> float:
    trace = _read(folder, topology)
    assert trace.topology is not None
    options = replace(all_tables(30), host_every=0, task_rows=False, occupancy_knots=129)
    occupancy = simulate(engine, trace.topology, trace.workload, options, trace.carbon).occupancy
    assert occupancy is not None
    trials = [
        [PowerModel(modelType="mse", idlePower=25.0, maxPower=174.0, calibrationFactor=1.0 + k / TRIALS)]
        * len(occupancy.groups)
        for k in range(TRIALS)
    ]
    price_many(occupancy, trials[:10])
    return TRIALS / _timed(lambda: price_many(occupancy, trials))


def peak_rss_mb() -> float:
    """Largest memory of this process so far [MB].

    Linux keeps two figures: that of ``getrusage`` survives the start of a program, so that a small one started by a
    large one seems large; ``VmHWM`` begins anew.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
