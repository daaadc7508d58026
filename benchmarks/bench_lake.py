"""What the lake costs: committing windows, and reading a week of power. The API has a benchmark of its own.

Usage: python benchmarks/bench_lake.py [--windows 168] [--out benchmarks/results/lake.json]

Windows have the size of the SURF week's: 120 power samples, 3,324 host samples, 100 task events, one calibration with
ten trials, 200 kB of engine state.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import load_average, surroundings

from opendt.lake import Checkpoint, Lake, WindowCommit, WindowWriter
from opendt.lake.reader import LakeReader, RunKey
from opendt.settings import LakeSettings

HOUR_MS = 3_600_000
T0 = 1_665_100_800_000
POWER = 120
HOSTS = 277


def window(index: int, run_id: str = "bench") -> WindowCommit:
    """A window of the usual size, filled with seeded noise."""
    random = np.random.default_rng(index)
    start = T0 + index * HOUR_MS
    hosts = 12 * HOSTS
    rows: dict[str, Any] = {
        "power_samples": {
            "timestamp_ms": start + np.arange(POWER) * 30_000,
            **{c: random.random(POWER) * 1e4 for c in ("simulated_w", "uncalibrated_w", "measured_w", "persistence_w",
               "band_low_w", "band_high_w", "utilization_ratio", "carbon_intensity_g_per_kwh", "energy_j", "carbon_g")},
        },
        "host_samples": {
            "timestamp_ms": start + np.repeat(np.arange(12) * 300_000, HOSTS),
            "cluster_name": "C01",
            "host_name": np.tile([f"H01-{n}" for n in range(HOSTS)], 12),
            "tasks_running": np.ones(hosts, np.int32),
            **{c: random.random(hosts) for c in ("cpu_usage_mhz", "cpu_utilization_ratio", "power_w")},
        },
        "task_events": {"task_id": np.arange(100), "event": "submitted", "time_ms": start + np.arange(100)},
        "calibrations": [{"calibration_id": f"c-{index}", "method": "grid"}],
        "calibration_trials": {"calibration_id": f"c-{index}", "trial": np.arange(10), "state": "complete"},
    }  # fmt: skip
    row = {"start_ms": start, "end_ms": start + HOUR_MS, "energy_j": 1.0}
    return WindowCommit(run_id, "default", index, rows, row, Checkpoint("native", random.bytes(200_000), b"", "{}"))


def commits(count: int, batch: int) -> dict[str, float]:
    """Milliseconds per transaction and per window with so many windows in each."""
    with tempfile.TemporaryDirectory() as folder, Lake.open(LakeSettings(path=Path(folder))) as lake:
        lake.commit_window(window(0))
        spent = [
            lake.commit_windows([window(n) for n in range(first, first + batch)]).wall_ms
            for first in range(1, count, batch)
        ]
    return {
        "transaction_ms": round(statistics.median(spent), 1),
        "window_ms": round(sum(spent) / len(spent) / batch, 1),
    }


def background(count: int) -> dict[str, float]:
    """Windows as fast as they can be submitted, through the writer's thread."""
    made = [window(n) for n in range(count)]
    with tempfile.TemporaryDirectory() as folder, Lake.open(LakeSettings(path=Path(folder))) as lake:
        started = time.perf_counter()
        with WindowWriter(lake) as writer:
            for commit in made:
                writer.submit(commit)
        seconds = time.perf_counter() - started
    return {"total_s": round(seconds, 2), "window_ms": round(seconds * 1e3 / count, 1)}


def reading(folder: Path) -> dict[str, float]:
    """Milliseconds of typical queries on the week."""
    reader = LakeReader(LakeSettings(path=folder))
    run = RunKey("bench", "default")
    week = (
        "SELECT timestamp_ms // 60000 AS t, avg(simulated_w), avg(measured_w) FROM power_samples "
        "WHERE run_id = 'bench' GROUP BY 1 ORDER BY 1"
    )
    windows = "SELECT window_index, committed_ms FROM windows WHERE run_id = ? AND datacenter = ?"
    cases: dict[str, Callable[[], Any]] = {
        "last_commit_ms": reader.commit,
        "windows_of_a_run_ms": lambda: reader.query(windows, [run.run_id, run.datacenter]),
        "week_60s_ms": lambda: reader.query(week),
        "accuracy_ms": lambda: reader.query("SELECT * FROM accuracy WHERE run_id = 'bench'"),
        "latest_run_ms": lambda: reader.query("SELECT * FROM latest_run"),
    }
    found = {name: round(statistics.median(_times(case, 10)), 1) for name, case in cases.items()}
    reader.close()
    return found


def write_slowly(folder: Path) -> None:
    """Commit two windows a second to the run that is being read, until terminated."""
    with Lake.open(LakeSettings(path=folder)) as lake:
        for index in range(10_000, 20_000):
            lake.commit_window(window(index))
            time.sleep(0.5)


def _times(case: Callable[[], Any], repeat: int) -> list[float]:
    case()
    spent = []
    for _ in range(repeat):
        started = time.perf_counter()
        case()
        spent.append((time.perf_counter() - started) * 1e3)
    return spent


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=168)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {
        "benchmark": "lake", **surroundings(), "windows": given.windows,
        "commits": {str(batch): commits(25, batch) for batch in (1, 4, 8, 24)},
        "background": background(given.windows),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Lake.open(LakeSettings(path=folder)) as lake:
            lake.start_run("bench", "default", "bench")
            for first in range(0, given.windows, 8):
                lake.commit_windows([window(n) for n in range(first, min(first + 8, given.windows))])
            results["reading"] = reading(folder)
            results["maintain"] = lake.maintain().as_dict()
        results["reading_after_maintain"] = reading(folder)
    results["load_at_end"] = load_average()
    text = json.dumps(results, indent=2)
    print(text)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
