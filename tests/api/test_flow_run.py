"""The flow run behind a run: found by name at a Prefect server, said plainly when there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from starlette.testclient import TestClient

from opendt.api.flow_run import FlowRuns, chosen, tail_of
from opendt.settings import ApiSettings, PrefectSettings, Settings

ID = "0f3c2a1b-4d5e-4f60-8a7b-0123456789ab"


class Server(BaseHTTPRequestHandler):
    """What a Prefect server answers to a filter on names."""

    asked: ClassVar[list[dict[str, Any]]] = []
    answer: ClassVar[bytes] = b"[]"

    def do_POST(self) -> None:
        """Note the question and answer."""
        Server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(Server.answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    Server.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def settings(port: int, host: str = "127.0.0.1", api_host: str = "127.0.0.1") -> Settings:
    return Settings(prefect=PrefectSettings(host=host, port=port), api=ApiSettings(host=api_host))


def row(name: str, identity: str = ID) -> dict[str, Any]:
    return {"id": identity, "name": name, "state_name": "Running"}


def test_flow_run_is_found_by_the_end_of_its_name(port: int) -> None:
    Server.answer = json.dumps([row("report run-1 run-1"), row("pipeline week run-1")]).encode()
    found = FlowRuns(settings(port)).of("run-1", "localhost")
    assert found.url == f"http://127.0.0.1:{port}/runs/flow-run/{ID}"
    assert (found.name, found.state, found.reason) == ("pipeline week run-1", "Running", None)
    assert Server.asked[0]["flow_runs"] == {"name": {"like_": "run-1"}}


def test_run_ids_made_of_a_flow_runs_id_are_found_whatever_their_kind(port: int) -> None:
    Server.answer = json.dumps([row("twin dc run-0f3c2a1b-4d5e")]).encode()
    assert FlowRuns(settings(port)).of("twin-0f3c2a1b-4d5e", "localhost").url is not None
    assert Server.asked[0]["flow_runs"] == {"name": {"like_": "0f3c2a1b-4d5e"}}
    assert tail_of("run-20261120-093000-1f2e") == "run-20261120-093000-1f2e"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        None,
        {"detail": "no"},
        [row("pipeline week run-10")],
        [row("pipeline week other")],
        [row("pipeline w run-1", "x/../y")],
    ],
)
def test_answers_that_name_no_such_flow_run_give_none(rows: object) -> None:
    assert chosen(rows, "run-1") is None


def test_without_a_server_or_a_flow_run_the_reason_is_said(port: int) -> None:
    Server.answer = b"[]"
    assert "knows no flow run" in str(FlowRuns(settings(port)).of("run-1", "localhost").reason)
    Server.answer = b"<html>"
    assert "no Prefect server answers" in str(FlowRuns(settings(port)).of("run-1", "localhost").reason)
    assert "no Prefect server answers" in str(FlowRuns(settings(1)).of("run-1", "localhost").reason)


def test_a_server_of_this_machine_only_is_not_shown_to_others(port: int) -> None:
    Server.answer = json.dumps([row("pipeline week run-1")]).encode()
    found = FlowRuns(settings(port, api_host="0.0.0.0")).of("run-1", "twin.example")
    assert (found.url, Server.asked) == (None, [])
    found = FlowRuns(settings(port, host="0.0.0.0", api_host="0.0.0.0")).of("run-1", "twin.example")
    assert found.url == f"http://twin.example:{port}/runs/flow-run/{ID}"


def test_it_is_not_asked_again_within_seconds(port: int) -> None:
    now = [0.0]
    flow_runs = FlowRuns(settings(port), clock=lambda: now[0])
    for at in (0.0, 1.0, 14.0, 16.0):
        now[0] = at
        flow_runs.of("run-1", "localhost")
    assert len(Server.asked) == 2


def test_route_answers_for_runs_that_exist(own: TestClient) -> None:
    found = own.get("/api/runs/latest/flow-run").json()
    assert set(found) == {"url", "name", "state", "reason"}
    assert own.get("/api/runs/nope/flow-run").status_code == 404
