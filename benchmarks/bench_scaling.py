"""What a datacenter costs, per window and per million fragments, and what several side by side on one lake cost.

Usage: python benchmarks/bench_scaling.py [--repeat 1] [--shared 8,24,50] [--out benchmarks/results/scaling.json]

Each datacenter is the main job (replay, broker, windows, engine, calibration, lake) in a process of its own on a
generated trace. ``twin`` is the CPU of the process that consumes, simulates and commits, without replay and broker;
a live twin costs that. Alone, datacenters of several sizes give the cost of a window and of a fragment by least
squares; side by side, equal ones share one lake. ``--shared`` follows so many datacenters in one process (``opendt twin
--share``) from a real broker (Java, Maven) that holds six hours of each already: the most that can come at once. CPU
seconds hardly depend on what else a machine does, wall time does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import ROOT, publish, surroundings

SIZES = ((0.25, 20), (1.0, 20), (3.0, 20), (1.0, 100), (2.0, 277))  # days, hosts
SIDE_BY_SIDE = (1, 2, 4)
EQUAL = (1.0, 100)
SHARED = (0.25, 20)
LOOK_EVERY_S = 0.2


def worker(trace: str, lake: str, datacenter: str) -> None:
    """One datacenter, from the trace to the lake; prints what it took."""
    from flows.parameters import PipelineParameters
    from flows.pipeline import pipeline

    started = time.monotonic()
    before = _cpu_s(resource.RUSAGE_SELF)
    params = PipelineParameters(
        trace=trace, lake=lake, datacenter=datacenter, run_id=f"run-{datacenter}", optimize="off"
    )  # fmt: skip
    done = pipeline.fn(params)
    print(
        json.dumps(
            {
                "windows": done.windows, "fragments": done.fragments, "tasks": done.tasks_seen,
                "wall_s": time.monotonic() - started,
                "start_cpu_s": before, "twin_cpu_s": _cpu_s(resource.RUSAGE_SELF),
                "replay_and_broker_cpu_s": _cpu_s(resource.RUSAGE_CHILDREN),
                "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "stages_s": done.stages_s,
            }
        )
    )  # fmt: skip


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def side_by_side(trace: Path, lake: Path, count: int) -> dict[str, Any]:
    """So many datacenters at once on one lake: what each took, and what is in the lake afterwards."""
    started = time.monotonic()
    command = [sys.executable, __file__, "--worker", str(trace), str(lake)]
    running = [
        subprocess.Popen([*command, f"dc-{number}"], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        for number in range(count)
    ]
    each = []
    for process in running:
        out, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"a datacenter ended with code {process.returncode}")
        each.append(json.loads(out))
    return {"datacenters": count, "wall_s": time.monotonic() - started, "each": each, **stored(lake)}


def stored(lake: Path) -> dict[str, float]:
    """Bytes on the stream and in the lake, before and after compaction; rows of the largest tables."""
    from opendt.lake import Lake
    from opendt.lake.info import lake_info
    from opendt.lake.maintain import maintain
    from opendt.settings import LakeSettings

    with Lake.open(LakeSettings(path=lake)) as opened:
        (sent,) = opened.rows(
            "SELECT sum(messages)::BIGINT AS messages, sum(payload_bytes)::BIGINT AS bytes FROM replays"
        )
        written = _bytes(lake)
        maintain(opened, keep_days=1e-9)
        rows = {row["table"]: row["rows"] for row in lake_info(opened)["tables"]}
    return {
        "stream_messages": sent["messages"], "stream_bytes": sent["bytes"], "lake_bytes_written": written,
        "lake_bytes_compacted": _bytes(lake),
        "rows": {name: rows[name] for name in ("power_samples", "host_samples", "task_events")},
    }  # fmt: skip


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def shared(trace: Path, folder: Path, count: int) -> dict[str, Any]:
    """So many datacenters with the same recording in one twin process, from a broker that holds it all."""
    from opendt.stream.testing import local_kafka

    folder.mkdir()
    opendt, names = str(Path(sys.executable).with_name("opendt")), [f"dc{number:03}" for number in range(count)]
    with local_kafka(ROOT / ".cache/kafka") as broker, (folder / "twin.json").open("w+") as output:
        environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": broker.address, "OPENDT_LAKE__PATH": str(folder / "lake"),
            "OPENDT_PREFECT__PORT": "1",
        }  # fmt: skip
        each = [part for name in names for part in ("--trace", str(trace), "--datacenter", name)]
        replay = [opendt, "replay", "--replay-id", "scaling", "--speed", "-1", "--json", *each]
        subprocess.run(replay, env=environment, check=True, capture_output=True)
        each = [part for name in names for part in ("--share", f"{name}={trace / 'topology.json'}")]
        started, before = time.monotonic(), _cpu_s(resource.RUSAGE_CHILDREN)
        command = [opendt, "twin", "--run-id", "scaling", "--json", *each]
        twin = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL)
        peak_kb = threads = 0
        while twin.poll() is None:
            peak_kb, threads = max(peak_kb, _status(twin.pid, "VmHWM")), max(threads, _status(twin.pid, "Threads"))
            time.sleep(LOOK_EVERY_S)
        wall_s = time.monotonic() - started
        if twin.returncode:
            raise SystemExit(f"the twin of {count} datacenters ended with code {twin.returncode}")
        output.seek(0)
        done = json.load(output)
    return {
        "datacenters": len(done), "windows": sum(one["windows"] for one in done), "wall_s": wall_s,
        "twin_cpu_s": _cpu_s(resource.RUSAGE_CHILDREN) - before, "peak_rss_mb": peak_kb / 1024, "threads": threads,
    }  # fmt: skip


def _status(pid: int, name: str) -> int:
    """A number of Linux's about a process; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def costs(alone: list[dict[str, Any]]) -> dict[str, float]:
    """What things cost, by least squares over the sizes; nothing costs less than nothing."""
    from scipy.optimize import nnls

    each = [run["each"][0] for run in alone]
    windows = np.array([float(one["windows"]) for one in each])
    millions = np.array([one["fragments"] / 1e6 for one in each])
    host_windows = windows * [run["hosts"] for run in alone]

    def fit(values: list[float], *columns: Any) -> list[float]:
        return [float(value) for value in nnls(np.column_stack(columns), np.array(values, float))[0]]

    start, window, million = fit([one["twin_cpu_s"] for one in each], np.ones(len(each)), windows, millions)
    bytes_hour, bytes_million = fit([run["stream_bytes"] for run in alone], windows, millions)
    messages_hour, messages_million = fit([run["stream_messages"] for run in alone], windows, millions)
    base, lake_window, lake_host = fit(
        [run["lake_bytes_compacted"] for run in alone], np.ones(len(each)), windows, host_windows
    )
    return {
        "start_cpu_s": start, "cpu_s_per_window": window, "cpu_s_per_million_fragments": million,
        "stream_bytes_per_hour": bytes_hour, "stream_bytes_per_million_fragments": bytes_million,
        "stream_messages_per_hour": messages_hour, "stream_messages_per_million_fragments": messages_million,
        "lake_bytes_empty": base, "lake_bytes_per_window": lake_window, "lake_bytes_per_host_and_window": lake_host,
        "peak_rss_mb_smallest": min(one["peak_rss_mb"] for one in each),
        "peak_rss_mb_largest": max(one["peak_rss_mb"] for one in each),
    }  # fmt: skip


def measure(repeat: int, share: list[int]) -> dict[str, Any]:
    """All sizes alone, then equal ones side by side, then many in one process."""
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        traces = {}
        for days, hosts in {*SIZES, EQUAL, SHARED}:
            traces[days, hosts] = folder / f"trace-{days}-{hosts}"
            make_trace(traces[days, hosts], SyntheticOptions(days=days, hosts=hosts, seed=1))
        side_by_side(traces[SIZES[0]], folder / "warm", 1)  # compiles kernels, fills the page cache
        alone = []
        for number in range(repeat):
            for days, hosts in SIZES:
                run = side_by_side(traces[days, hosts], folder / f"alone-{days}-{hosts}-{number}", 1)
                alone.append({"days": days, "hosts": hosts, **run})
        together = [side_by_side(traces[EQUAL], folder / f"together-{count}", count) for count in SIDE_BY_SIDE]
        many = [shared(traces[SHARED], folder / f"shared-{count}", count) for count in share]
    return {"costs": costs(alone), "alone": alone, "side_by_side": together, "in_one_process": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--shared", type=lambda text: [int(part) for part in text.split(",") if part], default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", nargs=3, metavar=("TRACE", "LAKE", "DATACENTER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(*given.worker)
        return
    result = {
        "benchmark": "scaling", **surroundings(), **measure(given.repeat, given.shared),
    }  # fmt: skip
    publish(result, given.out)


if __name__ == "__main__":
    main()
