"""`opendt up` as people use it: in a process of its own, stopped by control-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from opendt.doctor import port_is_free

DEFINITIONS = """
deployments:
  - name: hello
    entrypoint: tests.flows.hello.hello
    description: Says hello.
    tags: [opendt]
    schedules:
      - {slug: daily, cron: "30 2 * * *", timezone: UTC, active: true}
"""
UP = """
import sys
from pathlib import Path
from flows.local import Local
from opendt.settings import load_settings
settings = load_settings(None, {"prefect.port": int(sys.argv[1])})
Local(settings, file=Path(sys.argv[2]), say=lambda text: print(text, flush=True)).run()
"""
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def api(port: int, path: str, body: dict | None = None, method: str = "POST"):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api{path}", method=method, headers={"content-type": "application/json"},
        data=None if method == "GET" else json.dumps(body or {}).encode(),
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Up:
    """A running `opendt up` with one deployment, and what it has said so far."""

    def __init__(self, folder: Path, definitions: str = DEFINITIONS) -> None:
        self.port = free_port()
        file = folder / "prefect.yaml"
        file.write_text(definitions)
        environment = os.environ | {"PREFECT_HOME": str(folder / "prefect"), "PYTHONPATH": str(ROOT)}
        self.log = folder / "up.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UP, str(self.port), str(file)], env=environment, cwd=folder, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, text: str, timeout_s: float = 120.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def up(tmp_path):
    running = Up(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


@pytest.mark.slow
@pytest.mark.xdist_group("prefect")
def test_up_runs_what_is_started_and_control_c_ends_all_of_it(up, tmp_path):
    up.wait_for("Control-C ends")
    (deployment,) = api(up.port, "/deployments/filter")
    assert deployment["name"] == "hello"
    assert not deployment["paused"]

    file = tmp_path / "pid"
    parameters = {"params": {"path": str(file), "wait_s": 600}}
    run = api(up.port, f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, up.log.read_text()
        time.sleep(0.1)
    assert api(up.port, f"/flow_runs/{run['id']}", method="GET")["state_type"] == "RUNNING"

    assert up.stop() == 0
    assert gone(int(file.read_text()))
    assert port_is_free("127.0.0.1", up.port), "the server should be gone as well"
    assert "Traceback" not in up.log.read_text()


NIGHTLY = """
deployments:
  - name: nightly
    entrypoint: flows.nightly.nightly
    description: A night.
    tags: [opendt]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    parameters: {params: {lake: LAKE, heldout_h: 6, out: OUT}}
    schedules:
      - {slug: daily, cron: "30 2 * * *", timezone: UTC, active: true}
"""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def scheduled_runs(up: Up, least: int) -> list[dict]:
    """The runs that the server's scheduler made from the cron schedule, the earliest first."""
    deadline = time.monotonic() + 120
    while len(found := api(up.port, "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})) < least:
        assert time.monotonic() < deadline, up.log.read_text()
        time.sleep(0.2)
    return found


def let_days_pass(database: Path, days: int) -> None:
    """Move every scheduled run of a stopped server so many days back: as if it had been down for that long."""
    earlier = f"-{days} days"
    with closing(sqlite3.connect(database)) as server:
        server.execute(
            "UPDATE flow_run SET expected_start_time = strftime('%Y-%m-%d %H:%M:%f', expected_start_time, ?), "
            "next_scheduled_start_time = strftime('%Y-%m-%d %H:%M:%f', next_scheduled_start_time, ?)",
            (earlier, earlier),
        )
        for state, details in server.execute("SELECT id, state_details FROM flow_run_state").fetchall():
            changed = json.loads(details)
            due = datetime.fromisoformat(changed["scheduled_time"]) - timedelta(days=days)
            changed["scheduled_time"] = due.isoformat()
            server.execute("UPDATE flow_run_state SET state_details = ? WHERE id = ?", (json.dumps(changed), state))
        server.commit()


@pytest.mark.slow
@pytest.mark.xdist_group("prefect")
def test_nights_that_passed_while_the_server_was_down_are_caught_up_exactly_once(tmp_path):
    from flows.parameters import PipelineParameters
    from flows.pipeline import pipeline
    from opendt.lake import Lake
    from opendt.settings import LakeSettings
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    make_trace(tmp_path / "trace", SyntheticOptions(days=1, hosts=8, seed=3))
    lake, out = tmp_path / "lake", tmp_path / "report"
    pipeline.fn(PipelineParameters(trace=str(tmp_path / "trace"), lake=str(lake), run_id="run-1", optimize="off"))
    definitions = NIGHTLY.replace("LAKE", str(lake)).replace("OUT", str(out))

    up = Up(tmp_path, definitions)
    try:
        up.wait_for("Control-C ends")
        missed = {run["id"] for run in scheduled_runs(up, least=3)[:3]}
    finally:
        up.stop()
    let_days_pass(tmp_path / "prefect" / "prefect.db", 3)

    up = Up(tmp_path, definitions)
    try:
        up.wait_for("Control-C ends")
        deadline = time.monotonic() + 200
        while True:
            nights = [run for run in scheduled_runs(up, least=3) if run["id"] in missed]
            assert len(nights) == 3
            if all(run["state_type"] in ENDED for run in nights):
                break
            assert time.monotonic() < deadline, up.log.read_text()
            time.sleep(0.5)
        states = sorted(run["state_type"] for run in nights)
        assert set(states) <= {"COMPLETED", "CANCELLED"}, [run["state"]["message"] for run in nights]
        assert "COMPLETED" in states
        assert all(run["auto_scheduled"] for run in nights)
        keys = [a["key"] for a in api(up.port, "/artifacts/filter")]
        assert keys.count("opendt-nightly") == 1
        assert {"opendt-calibration", "opendt-accuracy"} <= set(keys)
    finally:
        up.stop()
    assert (out / "report.html").exists()
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        assert opened.rows("SELECT state FROM runs WHERE kind = 'nightly'") == [{"state": "completed"}]


def test_a_port_taken_by_another_program_is_one_clear_error(tmp_path):
    from flows.server import PrefectServer
    from opendt.errors import ConfigError
    from opendt.settings import PrefectSettings

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = PrefectServer(PrefectSettings(port=port), tmp_path / "log")
        with pytest.raises(ConfigError, match=f"port {port} .* is in use .* OPENDT_PREFECT__PORT={port + 1}"):
            server.start()


def test_a_server_that_is_there_already_is_used_and_left_running(prefect_server, tmp_path):
    from flows.server import PrefectServer
    from opendt.doctor import prefect_version

    with PrefectServer(prefect_server.settings, tmp_path / "log") as second:
        assert not second.started
    assert prefect_version(prefect_server.url)


@pytest.mark.parametrize(
    ("form", "others"),
    [({"lake": "given"}, "and so do those that another"), ({}, "another `opendt up` there takes up go to its own")],
)
def test_a_second_up_says_which_lake_runs_will_use(prefect_server, tmp_path, form, others):
    from contextlib import ExitStack

    from flows.local import Local
    from opendt.settings import LakeSettings, Settings

    said = []
    settings = Settings(prefect=prefect_server.settings, lake=LakeSettings(path=tmp_path / "lake"))
    with ExitStack() as stack:
        Local(settings, form=form, say=said.append)._start_server(stack, tmp_path / "log")
    assert prefect_server.ui_url in said[-1]
    assert f"go to the lake {tmp_path / 'lake'}" in said[-1]
    assert others in said[-1]


@pytest.mark.parametrize(("port", "before"), [(4200, ""), (4391, "OPENDT_PREFECT__PORT=4391 ")])
def test_the_command_that_up_recommends_reaches_its_server(tmp_path, port, before):
    from flows.local import Local
    from flows.server import PrefectServer
    from opendt.settings import PrefectSettings, Settings

    said = []
    prefect = PrefectSettings(port=port)
    Local(Settings(prefect=prefect), say=said.append)._ready(PrefectServer(prefect, tmp_path / "log"), "pipeline")
    assert said[1].endswith(f"start 'pipeline', or: {before}opendt run --remote --trace DIR")


def test_a_server_that_cannot_start_tells_its_last_words(tmp_path, monkeypatch):
    from flows.server import PrefectServer
    from opendt.errors import TerminalError
    from opendt.settings import PrefectSettings

    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense://")
    server = PrefectServer(PrefectSettings(port=free_port()), tmp_path / "log")
    with pytest.raises(TerminalError, match="ended with code"):
        server.start()
    assert not server.failed()  # nothing is left behind
