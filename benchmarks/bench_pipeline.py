"""Seconds and peak memory of each stage of the main job, each in a process of its own.

Usage: python benchmarks/bench_pipeline.py --trace DIR [--repeat 3] [--out benchmarks/results/pipeline.json]

Each stage starts from what the stage before hands on, read anew, so a stage's memory is its own. ``total_s`` is the
wall time of ``opendt run`` as a user sees it, from nothing: process start, imports, broker, everything.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import publish, surroundings

HOUR_MS = 3_600_000


def stage_read(trace_dir: str, folder: Path) -> Callable[[], Any]:
    from opendt.traces import read_trace

    return lambda: read_trace(trace_dir)


def stage_simulate(trace_dir: str, folder: Path) -> Callable[[], Any]:
    from opendt.engine.base import EngineOptions, simulate
    from opendt.engine.native.engine import NativeEngine
    from opendt.traces import read_trace

    trace = read_trace(trace_dir)
    return lambda: simulate(NativeEngine(), trace.topology, trace.workload, EngineOptions(), trace.carbon)


def stage_stream(trace_dir: str, folder: Path) -> Callable[[], Any]:
    """Replay in a process of its own, read back as windows."""
    from opendt.settings import Settings
    from opendt.stream.broker import broker
    from opendt.stream.replay_process import ReplayProcess
    from opendt.stream.source import open_windows

    settings = Settings()

    def run() -> int:
        with (
            broker(settings.stream) as stream,
            ReplayProcess(Path(trace_dir), stream, "dc", "bench", start_sequences={}) as replay,
        ):
            count = sum(1 for _ in open_windows(stream, settings.windows, "dc", "bench", None))
            replay.wait(60.0)
        return count

    return run


def stage_windows(trace_dir: str, folder: Path) -> Callable[[], Any]:
    """Window after window through engine, calibration and lake, without a broker."""
    from opendt.settings import LakeSettings, Settings
    from opendt.traces import read_trace
    from opendt.twin.run import new_run_id, open_session
    from opendt.windows.cut import cut_windows

    trace = read_trace(trace_dir)
    settings = Settings(lake=LakeSettings(path=folder / "lake"))
    batches = list(cut_windows(trace.workload, trace.power, HOUR_MS))

    def run() -> dict[str, float]:
        with open_session(settings, new_run_id("bench"), trace=trace) as session:
            for batch in batches:
                session.process(batch)
            return session.finish().stages_s

    return run


STAGES = {"read": stage_read, "simulate": stage_simulate, "stream": stage_stream, "windows": stage_windows}


def measure_stage(name: str, trace_dir: str, repeat: int) -> dict[str, Any]:
    """Cold (first) and warm (median of the rest) seconds and this process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        run = STAGES[name](trace_dir, Path(folder))
        seconds, detail = [], None
        for _ in range(repeat + 1):
            started = time.perf_counter()
            result = run()
            seconds.append(time.perf_counter() - started)
            detail = result if isinstance(result, dict) else detail
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found: dict[str, Any] = {
        "cold_s": round(seconds[0], 3), "warm_s": round(statistics.median(seconds[1:]), 3),
        "peak_rss_mb": round(peak_mb),
    }  # fmt: skip
    return found | ({"parts_s": detail} if detail else {})


def measure_total(trace_dir: str, repeat: int) -> dict[str, Any]:
    """``opendt run`` from nothing."""
    seconds, last = [], {}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            command = [Path(sys.executable).parent / "opendt", "run", "--trace", trace_dir, "--lake", folder, "--json"]
            started = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds.append(time.perf_counter() - started)
            last = json.loads(done.stdout)
    kept = (
        "windows",
        "tasks_run",
        "fragments",
        "energy_uncalibrated_kwh",
        "mape_pct",
        "persistence_mape_pct",
        "stages_s",
    )
    return {
        "wall_s": round(statistics.median(seconds), 2), "each_s": [round(s, 2) for s in seconds],
        "result": {name: last[name] for name in kept},
    }  # fmt: skip


def main() -> None:
    """Measure every stage and write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--stage", choices=STAGES, help="measure one stage in this process")
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(measure_stage(given.stage, given.trace, given.repeat)))
        return
    stages = {}
    for name in STAGES:
        command = [sys.executable, __file__, "--trace", given.trace, "--repeat", str(given.repeat), "--stage", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        stages[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {stages[name]}", file=sys.stderr)
    about = surroundings()
    results = {
        "benchmark": "pipeline", "trace": Path(given.trace).name, **about,
        "stages": stages, "total": measure_total(given.trace, given.repeat),
    }  # fmt: skip
    publish(results, given.out)


if __name__ == "__main__":
    main()
