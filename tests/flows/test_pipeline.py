"""From a trace to the lake: through the embedded broker, in processes of their own, killed and resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from opendt.errors import OpenDTError
from opendt.lake import Lake
from opendt.lake.schema import TABLES
from opendt.settings import LakeSettings

from .conftest import free_port
from .proxy import Proxy

DAY_WINDOWS = 24
# Wall clock, and where records happened to lie in a broker that is new with every process.
VOLATILE = {
    "wall_ms", "wall_s", "committed_ms", "created_ms", "started_ms", "ended_ms", "duration_ms", "duration_s",
    "offsets_json", "stages_json", "config_json", "code_version", "twin_state", "offset_",
}  # fmt: skip


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    folder = tmp_path_factory.mktemp("trace") / "day"
    make_trace(folder, SyntheticOptions(days=1, hosts=10, seed=3))
    return folder


def command(trace: Path, lake: Path, *more: str, run_id: str = "run-1") -> list[str]:
    opendt = Path(sys.executable).with_name("opendt")
    return [str(opendt), "run", "--trace", str(trace), "--lake", str(lake), "--run-id", run_id, "--json", *more]


def run(trace: Path, lake: Path, *more: str) -> dict:
    done = subprocess.run(command(trace, lake, *more), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return orjson.loads(done.stdout)


def contents(lake: Path) -> dict[str, list[dict]]:
    """Every row of every table, without what depends on the clock."""
    found = {}
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        for table in TABLES:
            columns = [c.name for c in table.columns if c.name not in VOLATILE]
            order = ", ".join(name for name in table.key if name in columns) or "1"
            rows = opened.rows(f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {order}")
            found[table.name] = rows
    return found


@contextmanager
def watching(lake: Path, run_id: str = "run-1") -> Iterator[Callable[[], int]]:
    """How many windows a run has committed so far. One open lake, because opening it costs more than looking."""
    with ExitStack() as stack:
        opened: list[Lake] = []

        def committed() -> int:
            try:
                if not opened:
                    opened.append(stack.enter_context(Lake.open(LakeSettings(path=lake), read_only=True)))
                return len(opened[0].committed_windows(run_id))
            except OpenDTError:
                return 0  # not there yet

        yield committed


@pytest.fixture(scope="module")
def uninterrupted(trace, tmp_path_factory) -> tuple[dict, dict]:
    lake = tmp_path_factory.mktemp("lake") / "whole"
    summary = run(trace, lake)
    return summary, contents(lake)


def test_a_trace_arrives_in_the_lake_through_broker_and_windows(uninterrupted):
    summary, tables = uninterrupted
    assert summary["state"] == "completed"
    assert summary["windows"] == len(tables["windows"]) >= DAY_WINDOWS
    assert summary["tasks_seen"] == summary["tasks_run"] + summary["tasks_dropped"]
    assert summary["energy_kwh"] == pytest.approx(sum(r["energy_j"] for r in tables["power_samples"]) / 3.6e6)
    assert summary["late_records"] == summary["duplicate_records"] == summary["dead_letters"] == 0
    (replay,) = tables["replays"]
    assert (replay["run_id"], replay["state"]) == ("run-1", "completed")
    assert len(tables["proposals"]) == summary["proposals"] > 0


@pytest.mark.slow
def test_a_run_killed_five_times_goes_on_each_time_and_leaves_the_same_lake(trace, tmp_path, uninterrupted):
    lake = tmp_path / "lake"
    computed = before = 0
    for wanted in (2, 6, 10, 14, 18):
        after = run_until_killed(trace, lake, wanted)
        computed += after - before
        before = after
        assert after < uninterrupted[0]["windows"]

    summary = run(trace, lake)
    assert summary["windows"] == uninterrupted[0]["windows"]
    assert summary["windows_recomputed"] == summary["windows"] - computed, "what was committed is not computed again"
    after = contents(lake)
    for name, rows in uninterrupted[1].items():
        if name != "replays":  # says what the last process sent
            assert after[name] == rows, f"table {name} differs"

    again = run(trace, lake)
    assert (again["windows_recomputed"], again["windows"]) == (0, summary["windows"])
    assert contents(lake)["power_samples"] == after["power_samples"]


def run_until_killed(trace: Path, lake: Path, windows: int) -> int:
    """Run slowly, kill -9 once that many windows are committed; returns how many then are."""
    slow = ["--speed", "20000"]  # a day in 4.3 s
    process = subprocess.Popen(command(trace, lake, *slow), stdout=subprocess.DEVNULL)
    with watching(lake) as committed:
        until(lambda: committed() >= windows, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return committed()


def test_bad_input_ends_with_one_line_and_writes_nothing(tmp_path):
    done = subprocess.run(command(tmp_path / "none", tmp_path / "lake"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no such folder" in done.stderr
    assert not (tmp_path / "lake").exists()


@pytest.mark.slow
def test_a_run_outlives_a_restart_of_the_prefect_server(trace, tmp_path, monkeypatch):
    from flows.server import PrefectServer
    from opendt.settings import PrefectSettings

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    lake = tmp_path / "lake"
    server = PrefectServer(PrefectSettings(port=free_port()), tmp_path / "server.log")
    server.start()
    try:
        with reporting_to(server.url, trace, lake) as process, watching(lake) as committed:
            until(lambda: committed() >= 2, process)
            server.stop()
            until(lambda: committed() >= 12, process)  # work goes on without it, progress artifacts included
            server.start()
            finish(process)
        assert flow_run(server.url)["state_type"] == "COMPLETED"
    finally:
        server.stop()


@pytest.mark.slow
def test_a_run_outlives_the_loss_of_the_network_until_its_work_is_done(trace, tmp_path, prefect_server):
    """Two minutes of silence, as a person would try it: ``OPENDT_OUTAGE_S=120 pytest -k network``."""
    lake = tmp_path / "lake"
    with (
        Proxy(prefect_server.settings.port) as network,
        reporting_to(f"http://127.0.0.1:{network.port}/api", trace, lake, "lost") as process,
        watching(lake, "lost") as committed,
    ):
        until(lambda: committed() >= 2, process)
        network.lose()
        lost = time.monotonic()
        until(lambda: state_of(lake, "lost") == "completed", process)
        while time.monotonic() < lost + float(os.environ.get("OPENDT_OUTAGE_S", "3")):
            assert process.poll() is None, "it waits to tell how it ended"
            time.sleep(0.2)
        network.restore()
        finish(process)
    assert flow_run(prefect_server.url, "lost")["state_type"] == "COMPLETED"


@contextmanager
def reporting_to(url: str, trace: Path, lake: Path, run_id: str = "run-1") -> Iterator[subprocess.Popen]:
    """A run of about 11 s that reports to a Prefect server."""
    process = subprocess.Popen(
        command(trace, lake, "--speed", "8000", run_id=run_id), env=os.environ | {"PREFECT_API_URL": url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], process: subprocess.Popen, timeout_s: float = 120.0) -> None:
    """Wait for it while the process lives."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finish(process: subprocess.Popen) -> None:
    """Wait for a good end with all windows."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err.decode()
    assert orjson.loads(out)["windows"] >= DAY_WINDOWS


def state_of(lake: Path, run_id: str) -> str:
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        return str(opened.rows("SELECT state FROM runs WHERE run_id = ?", [run_id])[0]["state"])


def flow_run(url: str, run_id: str = "run-1") -> dict:
    """The flow run whose name ends with the run id, as the server knows it."""
    request = urllib.request.Request(
        f"{url}/flow_runs/filter", headers={"content-type": "application/json"},
        data=orjson.dumps({"flow_runs": {"name": {"like_": f" {run_id}"}}}),
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:
        (found,) = orjson.loads(answer.read())
    return found


def test_a_unit_that_looks_wrong_is_doubted_at_the_start(trace, tmp_path):
    folder = tmp_path / "in-kilowatts"
    shutil.copytree(trace, folder)
    file = folder / "consumption.parquet"
    table = pq.read_table(file)
    at = table.schema.get_field_index("power_draw")
    pq.write_table(table.set_column(at, "power_draw", pc.divide(table["power_draw"], 1000.0)), file)
    done = subprocess.run(command(folder, tmp_path / "lake"), capture_output=True, timeout=120, check=True)
    assert b"Measured power is " in done.stderr
    assert b"is power_draw in watts" in done.stderr
    assert orjson.loads(done.stdout)["state"] == "completed"
