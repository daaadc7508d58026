"""One real Prefect server for all tests here: a free port, a Prefect home of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

import flows  # noqa: F401  (sets Prefect's environment first)
from flows.server import PrefectServer
from opendt.settings import PrefectSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pytest_collection_modifyitems(items):
    for item in items:
        if "prefect_server" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("prefect"))


@pytest.fixture(autouse=True)
def no_running_loop():
    """A loop left running by another test would make every synchronous call of Prefect return a coroutine."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    home = tmp_path_factory.mktemp("prefect")
    from prefect.logging.handlers import APILogHandler

    before = os.environ["PREFECT_HOME"]
    os.environ["PREFECT_HOME"] = str(home)
    try:
        with PrefectServer(PrefectSettings(port=free_port()), home / "server.log") as server:
            yield server
            APILogHandler().flush()  # what is sent after the server has gone is an error in the output
    finally:
        os.environ["PREFECT_HOME"] = before


@pytest.fixture
def prefect_api(prefect_server):
    """Flows called in the test report to the server."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield prefect_server


@pytest.fixture
def client(prefect_api):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def root() -> Path:
    return Path(__file__).parents[2]
