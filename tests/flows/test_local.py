"""`opendt up` as people use it: in a process of its own, stopped by control-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
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
    description: A night every minute.
    tags: [opendt]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
    parameters: {params: {lake: LAKE, heldout_h: 6, method: random, trials: 20, out: OUT}}
    schedules:
      - {slug: often, cron: "* * * * *", timezone: UTC, active: true}
"""


@pytest.mark.slow
@pytest.mark.xdist_group("prefect")
def test_a_schedule_runs_the_night_from_history_to_report(tmp_path):
    from flows.parameters import PipelineParameters
    from flows.pipeline import pipeline
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    make_trace(tmp_path / "trace", SyntheticOptions(days=1, hosts=10, seed=3))
    lake, out = tmp_path / "lake", tmp_path / "report"
    pipeline.fn(PipelineParameters(trace=str(tmp_path / "trace"), lake=str(lake), run_id="run-1", optimize="off"))
    up = Up(tmp_path, NIGHTLY.replace("LAKE", str(lake)).replace("OUT", str(out)))
    try:
        up.wait_for("Control-C ends")
        finished = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
        deadline = time.monotonic() + 200
        while not (runs := api(up.port, "/flow_runs/filter", finished)):
            assert time.monotonic() < deadline, up.log.read_text()
            time.sleep(0.5)
        assert runs[0]["state_type"] == "COMPLETED", runs[0]["state"]["message"]
        assert runs[0]["auto_scheduled"]
        assert (out / "report.html").exists()
        keys = {a["key"] for a in api(up.port, "/artifacts/filter")}
        assert {"opendt-nightly", "opendt-calibration", "opendt-accuracy"} <= keys
    finally:
        up.stop()


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


def test_a_server_that_cannot_start_tells_its_last_words(tmp_path, monkeypatch):
    from flows.server import PrefectServer
    from opendt.errors import TerminalError
    from opendt.settings import PrefectSettings

    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense://")
    server = PrefectServer(PrefectSettings(port=free_port()), tmp_path / "log")
    with pytest.raises(TerminalError, match="ended with code"):
        server.start()
    assert not server.failed()  # nothing is left behind
