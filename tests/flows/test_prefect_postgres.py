"""Prefect's own database in Postgres: what a server for many needs. Skipped where Postgres is not installed."""

from __future__ import annotations

import urllib.request

import pytest

from flows import automations
from flows.serve import register
from flows.server import PrefectServer
from opendt.settings import PrefectSettings, Settings

from ..lake.test_postgres import postgres  # noqa: F401  (a fixture)
from .conftest import free_port


@pytest.mark.slow
def test_a_server_on_postgres_takes_deployments_and_automations(postgres, tmp_path, monkeypatch):  # noqa: F811
    address = f"postgresql+asyncpg://opendt@127.0.0.1:{postgres}/lake"
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", address)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    server = PrefectServer(PrefectSettings(port=free_port()), tmp_path / "server.log")
    server.start(timeout_s=200)
    try:
        rows = register(Settings(prefect=server.settings))
        assert len(rows) == 9
        request = urllib.request.Request(
            f"{server.url}/automations/filter", data=b"{}", headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            assert automations.ZOMBIES in answer.read().decode()
    finally:
        server.stop()
    assert not (tmp_path / "prefect.db").exists(), "nothing of it is in SQLite"
