"""What Prefect costs: the main job with a running server against the same job without Prefect.

Usage: python benchmarks/bench_prefect.py --trace DIR [--repeat 3] [--out benchmarks/results/prefect.json]

Both run as ``opendt run`` in a process of its own, in turns, so that a busy machine treats them alike. A fresh server
(SQLite) runs beside both. ``overhead_pct`` compares medians of wall time from start to end of the process, aim: 20;
``cpu_overhead_pct`` the CPU of the run's processes, which a busy machine disturbs less (without the server's). At the
end two runs at once share server and lake: both have to succeed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import publish, surroundings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(trace: str, lake: Path, api_url: str, run_id: str = "bench") -> dict[str, float]:
    """Wall time, CPU time of the run's processes, and its own count of seconds."""
    environment = os.environ | {"PREFECT_API_URL": api_url} if api_url else dict(os.environ)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    opendt = Path(sys.executable).with_name("opendt")
    command = [str(opendt), "run", "--trace", trace, "--lake", str(lake), "--run-id", run_id, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall_s, "cpu_s": cpu_s, "flow_s": json.loads(done.stdout)["wall_s"]}


def measure(trace: str, repeat: int) -> dict[str, Any]:
    """Medians of both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"PREFECT_HOME": str(folder / "prefect"), "OPENDT_PREFECT__PORT": str(free_port())}
        os.environ.pop("PREFECT_API_URL", None)
        from flows.server import PrefectServer
        from opendt.settings import load_settings

        found: dict[str, list[dict[str, float]]] = {"plain": [], "prefect": []}
        run(trace, folder / "warm", "")  # compile kernels, fill the page cache
        with PrefectServer(load_settings().prefect, folder / "server.log") as server:
            os.environ["OPENDT_PREFECT__PORT"] = str(free_port())  # the plain runs must not find it
            for number in range(repeat):
                found["prefect"].append(run(trace, folder / f"prefect-{number}", server.url))
                found["plain"].append(run(trace, folder / f"plain-{number}", ""))
            beside = two_at_once(trace, folder / "shared", server.url)
    medians = {
        way: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for way, runs in found.items()
    }
    extra = {key: medians["prefect"][key] / medians["plain"][key] - 1 for key in ("wall_s", "cpu_s")}
    return {
        "overhead_pct": 100 * extra["wall_s"], "cpu_overhead_pct": 100 * extra["cpu_s"], **medians,
        "two_at_once": beside, "runs": found,
    }  # fmt: skip


def two_at_once(trace: str, lake: Path, api_url: str) -> dict[str, Any]:
    """Two runs that share server and lake; fails unless both succeed."""
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda number: run(trace, lake, api_url, f"beside-{number}"), range(2)))
    return {"wall_s": time.perf_counter() - started, "flow_s": [one["flow_s"] for one in both]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result = {
        "benchmark": "prefect", "trace": Path(given.trace).name, **surroundings(),
        **measure(given.trace, given.repeat),
    }  # fmt: skip
    publish(result, given.out)


if __name__ == "__main__":
    main()
