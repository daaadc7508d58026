"""What the API costs while a run is writing: a week of power for ten clients; what-if of a day; the first paint.

Usage: python benchmarks/bench_api.py [--seconds 15] [--out benchmarks/results/api.json]

Server, writer and clients are processes of their own. The run holds a week of windows of the SURF week's size, and the
writer commits two more windows a second to it, so that every query is answered anew twice a second. Each client keeps
one connection, accepts gzip and waits 100 ms between an answer and its next question ("flat out": not at all).
Clients ask the same, or each for another period of the week, or what a dashboard asks for.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_lake import T0, window, write_slowly
from record import load_average, publish, surroundings

from opendt.lake import Lake
from opendt.settings import LakeSettings
from opendt.traces import read_trace
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.units import iso

WEEK = 168
CLIENTS = 10
THINK_S = 0.1
MINUTE_MS = 60_000

# What the machine itself does to an answer that costs nothing: the floor to compare the others with.
FLOOR = ["/health"] * CLIENTS
EQUAL = ["/api/power?interval_seconds=60&run_id=bench"] * CLIENTS
DIFFERENT = [
    f"/api/power?interval_seconds=60&run_id=bench&start_time={iso(T0 + n * MINUTE_MS)}" for n in range(CLIENTS)
]
DASHBOARD = [
    "/api/runs/bench/power?interval_seconds=300", "/api/runs/bench/power?interval_seconds=60",
    "/api/runs/bench/carbon?interval_seconds=900", "/api/runs/bench/accuracy", "/api/runs/bench/energy",
    "/api/runs/bench/windows", "/api/runs/bench/heatmap?interval_seconds=3600", "/api/runs/bench/calibrations",
    "/api/runs/bench/slo", "/api/runs",
]  # fmt: skip


def make_lake(folder: Path) -> None:
    """A week of windows as run ``bench``, and a run ``asked`` of a generated week whose trace is there for what-if."""
    made = make_trace(folder / "traces" / "week", SyntheticOptions(seed=7))
    trace = read_trace(folder / "traces" / "week")
    assert trace.topology is not None
    with Lake.open(LakeSettings(path=folder / "lake")) as lake:
        lake.start_run("asked", "default", "pipeline", trace=str(folder / "traces" / "week"))
        last = window(0, "asked")
        end_ms = int(trace.workload.tasks.submission_ms.max())
        row = {**last.window, "topology_version": trace.topology.version, "end_ms": end_ms}
        lake.commit_window(type(last)("asked", "default", 0, last.rows, row, last.checkpoint))
        topology = {"datacenter": "default", "version": trace.topology.version, "created_ms": 1, "run_id": "asked",
                    "topology_json": trace.topology.to_json().decode()}  # fmt: skip
        lake.insert("topologies", [topology])
        lake.finish_run("asked", "default", "completed")
        lake.start_run("bench", "default", "pipeline", trace="week")
        for first in range(0, WEEK, 8):
            lake.commit_windows([window(n) for n in range(first, first + 8)])
    print(f"lake with {WEEK} windows and a trace of {made.tasks:,} tasks", file=sys.stderr)


@contextmanager
def serving(folder: Path) -> Any:
    """The API in a process of its own; gives its port and process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "OPENDT_API__TRACE_FOLDERS": json.dumps([str(folder / "traces")]),
        "OPENDT_API__WHATIF_PER_MINUTE": "100000",
    }
    command = [sys.executable, "-c", "from opendt.cli import main; main()", "api", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--lake", str(folder / "lake")], stdout=subprocess.DEVNULL, env={**os.environ, **settings}
    )
    try:
        _wait_for(port)
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def writing(folder: Path) -> Any:
    """Two windows a second committed to run ``bench`` by a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--write", str(folder / "lake")])
    time.sleep(2.0)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def load(port: int, server: subprocess.Popen[bytes], paths: list[str], seconds: float, **how: Any) -> dict[str, Any]:
    """Latencies of the clients' process [ms], and what the server spent per answer [ms of CPU]."""
    asked = json.dumps({"port": port, "paths": paths, "seconds": seconds, **how})
    before = _cpu_s(server.pid)
    done = subprocess.run([sys.executable, __file__, "--clients", asked], capture_output=True, text=True, check=True)
    spent = _cpu_s(server.pid) - before
    found = json.loads(done.stdout)
    ordered = sorted(found["latencies_ms"])
    return {
        "requests": len(ordered),
        "not_modified": found["not_modified"],
        **{name: round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1)
           for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))},
        "max_ms": round(ordered[-1], 1),
        "server_cpu_ms": round(spent * 1e3 / len(ordered), 2),
    }  # fmt: skip


def clients(port: int, paths: list[str], seconds: float, think_s: float = THINK_S, know: bool = False) -> None:
    """Ask from one thread per path and print latencies; with ``know`` clients send the tag of what they have."""
    latencies: list[float] = []
    known = [0]
    threads = [
        threading.Thread(target=_client, args=(port, path, time.monotonic() + seconds, think_s, know, latencies, known))
        for path in paths
    ]
    for thread in threads:
        thread.start()
        time.sleep(think_s / len(paths))
    for thread in threads:
        thread.join()
    print(json.dumps({"latencies_ms": latencies, "not_modified": known[0]}))


def _client(
    port: int, path: str, end: float, think_s: float, know: bool, latencies: list[float], known: list[int]
) -> None:
    """A client that costs little itself, since it shares the machine with the server."""
    buffer = bytearray(1 << 20)
    tag = b""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end:
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: gzip\r\n".encode()
            request = head + (b"If-None-Match: " + tag + b"\r\n" if know and tag else b"") + b"\r\n"
            started = time.perf_counter()
            link.sendall(request)
            status, tag = _receive(link, buffer)
            latencies.append((time.perf_counter() - started) * 1e3)
            assert status in (200, 304), f"{path}: {status}"
            known[0] += status == 304
            time.sleep(think_s)


def _receive(link: socket.socket, buffer: bytearray) -> tuple[int, bytes]:
    """Status and entity tag of an answer, read to its last byte."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += link.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    left = int(fields.get(b"content-length", b"0")) - len(body)
    while left > 0:
        left -= link.recv_into(buffer, min(left, len(buffer)))
    return int(lines[0].split()[1]), fields.get(b"etag", b"")


def whatif(port: int) -> dict[str, float]:
    """Seconds for a what-if on a run's last day: asked for the first time, and other questions after it."""

    def ask(count: int) -> float:
        body = {"run_id": "asked", "last_hours": 24, "variants": [{"changes": {"clusters[0].hosts[0].count": count}}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/whatif", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        started = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
        assert found["variants"][0]["state"] == "complete", found
        return time.perf_counter() - started

    first = ask(250)
    later = [ask(count) for count in range(200, 275, 5)]
    return {
        "first_s": round(first, 3),
        "p50_s": round(statistics.median(later), 3),
        "max_s": round(max(later), 3),
    }


def first_paint(port: int) -> dict[str, Any] | None:
    """Milliseconds until Chromium paints the page, and until the run's summary is there; None without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    paints, summaries = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(8):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            started = time.perf_counter()
            page.goto(f"http://127.0.0.1:{port}/?run=default/bench", wait_until="commit")
            page.wait_for_selector("#summary")
            summaries.append((time.perf_counter() - started) * 1e3)
            paints.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)[0]")
            )
            context.close()
        browser.close()
    return {
        "first_contentful_paint_ms": {"p50": round(statistics.median(paints), 1), "max": round(max(paints), 1)},
        "summary_shown_ms": {"p50": round(statistics.median(summaries), 1), "max": round(max(summaries), 1)},
    }


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{EQUAL[0]}") as answer:
                answer.read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the API did not start")


def _cpu_s(pid: int) -> float:
    """CPU seconds a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Everything, on a lake made for it."""
    make_lake(folder)
    with serving(folder) as (port, server):
        cases: dict[str, Callable[[], dict[str, Any]]] = {
            "floor": lambda: load(port, server, FLOOR, seconds),
            "equal": lambda: load(port, server, EQUAL, seconds),
            "different": lambda: load(port, server, DIFFERENT, seconds),
            "equal_revalidated": lambda: load(port, server, EQUAL, seconds, know=True),
            "equal_flat_out": lambda: load(port, server, EQUAL, seconds, think_s=0.0),
            "different_flat_out": lambda: load(port, server, DIFFERENT, seconds, think_s=0.0),
            "dashboard": lambda: load(port, server, DASHBOARD, seconds),
        }
        floor = load(port, server, FLOOR, seconds)
        quiet = {"floor": floor, "equal": cases["equal"](), "whatif_day": whatif(port), "dashboard": first_paint(port)}
        with writing(folder):
            busy = {name: case() for name, case in cases.items()}
    return {"while_nothing_is_written": quiet, "while_a_run_is_writing": busy}


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each load")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--write", type=Path, help="commit windows to this lake until terminated")
    parser.add_argument("--clients", help="be the clients: settings as JSON")
    given = parser.parse_args()
    if given.write:
        write_slowly(given.write)
        return
    if given.clients:
        clients(**json.loads(given.clients))
        return
    about = {
        "benchmark": "api", **surroundings(),
        "clients": CLIENTS, "windows": WEEK, "windows_written_per_s": 2, "seconds": given.seconds,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        results = {**about, **measure(Path(name), given.seconds), "load_at_end": load_average()}
    publish(results, given.out)


if __name__ == "__main__":
    main()
