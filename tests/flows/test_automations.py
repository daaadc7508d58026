from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect.events import emit_event
from pydantic import SecretStr

from flows import automations
from flows.events import DRIFT_EVENT
from opendt.settings import PrefectSettings


def until(condition, timeout_s: float = 90.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing after {timeout_s} s")


def names(client) -> set[str]:
    return {found.name for found in client.read_automations()}


def test_registering_twice_leaves_one_of_each_and_those_of_others_alone(client):
    client.create_automation(automations.zombies(60).model_copy(update={"name": "somebody else's"}))
    for _ in range(2):
        assert automations.register(PrefectSettings()) == [automations.ZOMBIES]
    found = [automation.name for automation in client.read_automations()]
    assert sorted(found) == sorted([automations.ZOMBIES, "somebody else's"])


def test_without_a_webhook_its_automations_are_removed(client):
    automations.register(PrefectSettings(webhook_url=SecretStr("http://127.0.0.1:9/")))
    assert {automations.FAILURE, automations.DRIFT} <= names(client)
    automations.register(PrefectSettings())
    assert not {automations.FAILURE, automations.DRIFT} & names(client)


def test_a_run_killed_with_all_that_watched_it_is_marked_as_crashed(client, tmp_path, prefect_server):
    automations.register(PrefectSettings(zombie_after_s=10))
    file = tmp_path / "pid"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from hello import HelloParameters, hello; "
        "from prefect import tags\nwith tags('opendt'): hello(HelloParameters(path=sys.argv[2], wait_s=600))"
    )
    environment = os.environ | {"PREFECT_API_URL": prefect_server.url, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(file)], env=environment, stderr=subprocess.DEVNULL
    )
    until(lambda: file.exists() and file.read_text())
    (running,) = [run for run in client.read_flow_runs() if run.state.is_running()]
    time.sleep(2.0)  # the first heartbeat travels in batches
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = until(lambda: (s := client.read_flow_run(running.id).state).is_crashed() and s)
    assert "same run id" in state.message


@pytest.fixture
def webhook():
    """A server that keeps what it is sent."""
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()


def test_failure_and_drift_call_the_webhook(client, webhook):
    from prefect import flow, tags

    url, received = webhook
    automations.register(PrefectSettings(webhook_url=SecretStr(url)))

    @flow(name="doomed")
    def doomed():
        raise ValueError('no "luck" today')

    with tags("opendt"):
        doomed(return_state=True)
    emit_event(DRIFT_EVENT, resource={"prefect.resource.id": "opendt.datacenter.dc"},
               payload={"text": "the cluster changed by +5.0 %"})  # fmt: skip
    until(lambda: len(received) >= 2)
    by_kind = {message["kind"]: message for message in received}
    assert 'no "luck" today' in by_kind["run failed"]["text"]
    assert by_kind["drift"]["text"] == "the cluster changed by +5.0 %"
    assert by_kind["drift"]["resource"] == "opendt.datacenter.dc"
    automations.register(PrefectSettings())
