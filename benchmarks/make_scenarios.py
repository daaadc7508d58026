"""Write random scenario folders, and OpenDC's own results beside them, to check an engine on unseen data.

Usage::

    OPENDC_HOME=... python benchmarks/make_scenarios.py DIR --seed 1 --count 40
    opendt engine compare DIR

Each folder holds what ``opendt engine compare`` reads: experiment.json, topology.json, workload/, where needed
carbon.parquet and failures.parquet, and with OPENDC_HOME set expected/ as OpenDC wrote it. The same seed gives the
same folders.
Worlds are kept away from inputs on which OpenDC never ends (SEMANTICS 11); one that still does is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scenario_families import FAMILIES, World

from opendt.engine.opendc.install import Installation, find_installation
from opendt.engine.opendc.runner import command_line, failure, run_program

TIMEOUT_S = 120.0


def write(world: World, folder: Path) -> None:
    """The input files of a scenario folder."""
    (folder / "workload").mkdir(parents=True)
    (folder / "topology.json").write_text(json.dumps(world.topology, indent=1))
    (folder / "experiment.json").write_text(json.dumps(_experiment(world), indent=1))
    pq.write_table(_task_table(world.tasks), folder / "workload/tasks.parquet")
    columns = {"id": pa.int32(), "duration": pa.int64(), "cpu_usage": pa.float64()}
    rows: list[tuple[Any, ...]] = list(world.fragments)
    if world.gpu_usage:
        columns["gpu_usage"] = pa.float64()
        rows = [(*row, gpu) for row, gpu in zip(world.fragments, world.gpu_usage, strict=True)]
    pq.write_table(_table(columns, rows), folder / "workload/fragments.parquet")
    if world.carbon:
        types = {"timestamp": pa.int64(), "carbon_intensity": pa.float64()}
        pq.write_table(_table(types, list(zip(*world.carbon, strict=True))), folder / "carbon.parquet")
    if world.failures:
        types = {"failure_interval": pa.int64(), "failure_duration": pa.int64(), "failure_intensity": pa.float64()}
        pq.write_table(_table(types, world.failures), folder / "failures.parquet")


def _experiment(world: World) -> dict[str, Any]:
    source: dict[str, Any] = {"pathToFile": "workload", "type": "ComputeWorkload", "scalingPolicy": world.scaling}
    if world.submission_time:
        source["submissionTime"] = world.submission_time
    export = {"exportInterval": world.interval_s, "filesToExport": list(world.files), "printFrequency": None}
    experiment: dict[str, Any] = {
        "name": "out",
        "topologies": [{"pathToFile": "topology.json"}],
        "workloads": [source],
        "exportModels": [export],
    }
    if world.policy:
        experiment["allocationPolicies"] = [world.policy]
    if world.failures:
        experiment["failureModels"] = [{"type": "trace-based", "pathToFile": "failures.parquet", "repeat": False}]
    if world.checkpoints:
        experiment["checkpointModels"] = [world.checkpoints]
    if world.max_failures:
        experiment["maxNumFailures"] = [world.max_failures]
    return experiment


def _task_table(tasks: list[dict[str, Any]]) -> pa.Table:
    types: dict[str, pa.DataType] = {
        "id": pa.int32(), "submission_time": pa.int64(), "duration": pa.int64(), "cpu_count": pa.int32(),
        "cpu_capacity": pa.float64(), "mem_capacity": pa.int64(), "gpu_count": pa.int32(), "gpu_capacity": pa.float64(),
        "parents": pa.list_(pa.int32()), "children": pa.list_(pa.int32()),
        "nature": pa.string(), "deadline": pa.int64(),
    }  # fmt: skip
    present = {name: kind for name, kind in types.items() if name in tasks[0]}
    return _table(present, [tuple(task[name] for name in present) for task in tasks])


def _table(types: dict[str, pa.DataType], rows: list[tuple[Any, ...]]) -> pa.Table:
    optional = ("gpu_usage", "gpu_count", "gpu_capacity", "parents", "children", "nature", "deadline", "timestamp",
                "carbon_intensity")  # fmt: skip
    schema = pa.schema([pa.field(n, t, nullable=n in optional or n.startswith("failure")) for n, t in types.items()])
    columns = list(zip(*rows, strict=True))
    return pa.table([pa.array(c, t) for c, t in zip(columns, types.values(), strict=True)], schema=schema)


def run_opendc(folder: Path, installation: Installation) -> str | None:
    """Let OpenDC fill ``expected/``; the reason when it does not end well."""
    fast = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED"]
    arguments, extra = command_line(installation, "experiment.json", fast)
    finished = run_program(arguments, folder, TIMEOUT_S, extra)
    problem = failure(finished, folder, TIMEOUT_S)
    if problem is not None:
        return problem.message
    source = folder / "output/out/raw-output/0/seed=0"
    (folder / "expected").mkdir()
    for file in sorted(source.glob("*.parquet")):
        pq.write_table(
            pq.read_table(file).replace_schema_metadata(), folder / "expected" / file.name, compression="zstd"
        )
    for left in ("output", "stdout.txt", "stderr.txt"):
        path = folder / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return None


def make(target: Path, seed: int, count: int, families: list[str], installation: Installation | None) -> int:
    """Write ``count`` scenarios; returns how many are usable."""
    made = 0
    for number in range(count):
        family = families[number % len(families)]
        folder = target / f"{family}_{seed}_{number:03d}"
        shutil.rmtree(folder, ignore_errors=True)
        write(FAMILIES[family](np.random.default_rng([seed, number])), folder)
        why = run_opendc(folder, installation) if installation else None
        print(f"{folder.name}: {why or 'ok'}", flush=True)
        if why:
            shutil.rmtree(folder)
        made += not why
    return made


def main() -> int:
    """Parse the command line, write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=len(FAMILIES) * 3)
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="only these (repeatable)")
    given = parser.parse_args()
    home = os.environ.get("OPENDC_HOME")
    installation = find_installation(Path(home), None) if home else None
    if installation is None:
        print("OPENDC_HOME is not set: writing inputs only", file=sys.stderr)
    made = make(given.target, given.seed, given.count, given.family or list(FAMILIES), installation)
    return 0 if made else 1


if __name__ == "__main__":
    sys.exit(main())
