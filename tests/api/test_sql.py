"""SQL over HTTP: answers, formats, refusals, limits, hanging up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import uvicorn
from starlette.testclient import TestClient

from opendt.api.app import create_app
from opendt.lake.gallery import GALLERY

from .conftest import TOKEN, make_settings

ROOT = Path(__file__).parents[2]


def ask(client: TestClient, sql: str, **more: object) -> dict:
    return client.post("/api/sql", json={"sql": sql, **more}).json()


def test_rows_columns_and_types(client: TestClient) -> None:
    body = ask(client, "SELECT run_id, count(*) AS n, min(time) AS first FROM power GROUP BY 1")
    assert [c["name"] for c in body["columns"]] == ["run_id", "n", "first"]
    assert body["rows"] == [["run-1", 360, "2022-10-07T00:00:00Z"]]
    assert body["truncated"] is False


def test_rows_are_limited(client: TestClient) -> None:
    body = ask(client, "SELECT * FROM range(10)", max_rows=3)
    assert len(body["rows"]) == 3
    assert body["truncated"] is True


def test_csv_and_arrow(client: TestClient) -> None:
    query = {"sql": "SELECT window_index, energy_j FROM windows ORDER BY 1"}
    text = client.post("/api/sql", json=query, headers={"Accept": "text/csv"}).text
    assert text.splitlines()[0].replace('"', "") == "window_index,energy_j"
    accept = {"Accept": "application/vnd.apache.arrow.stream"}
    table = pa.ipc.open_stream(client.post("/api/sql", json=query, headers=accept).content).read_all()
    assert table["window_index"].to_pylist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM runs", "SELECT * FROM read_text('/etc/passwd')", "ATTACH ':memory:'", "SELECT 1; SELECT 2", "x"],
)
def test_hostile_statements_are_400(client: TestClient, sql: str) -> None:
    response = client.post("/api/sql", json={"sql": sql})
    assert response.status_code == 400
    assert "root:" not in response.text


def test_slow_statements_are_408(client: TestClient) -> None:
    response = client.post("/api/sql", json={"sql": "SELECT count(*) FROM range(1000000000000)", "timeout_s": 0.2})
    assert response.status_code == 408
    assert "longer than 0.2 s" in response.json()["error"]


def test_tables_tell_units_and_meanings(client: TestClient) -> None:
    tables = {table["name"]: table["columns"] for table in client.get("/api/sql/tables").json()["tables"]}
    columns = {column["column_name"]: column for column in tables["power_samples"]}
    assert columns["simulated_w"]["unit"] == "W"
    assert columns["simulated_w"]["meaning"]
    assert "power" in tables


@pytest.mark.parametrize("query", GALLERY, ids=lambda query: query.name)
def test_gallery_queries_run_and_stand_in_the_docs(client: TestClient, query) -> None:
    response = client.post("/api/sql", json={"sql": query.sql})
    assert response.status_code == 200, response.text
    page = (ROOT / "docs/sql.md").read_text()
    assert query.title in page
    assert query.sql in page


def test_gallery_is_served(client: TestClient) -> None:
    queries = client.get("/api/sql/gallery").json()["queries"]
    assert len(queries) == len(GALLERY) >= 12
    assert len({q.name for q in GALLERY}) == len(GALLERY)


@pytest.fixture(scope="module")
def address(filled_lake: Path) -> Iterator[tuple[str, int]]:
    """A real server, for what only a real connection shows."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = create_app(make_settings(filled_lake), token=TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()
    server.should_exit = True
    thread.join(10)


def _post(address: tuple[str, int], sql: str) -> socket.socket:
    body = f'{{"sql": "{sql}"}}'.encode()
    connection = socket.create_connection(address, timeout=20)
    head = f"POST /api/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
    return connection


def test_hanging_up_frees_the_only_worker(address: tuple[str, int]) -> None:
    with _post(address, "SELECT 1") as warm:
        assert b"200 OK" in warm.recv(65_536)
    slow = _post(address, "SELECT count(*) FROM range(1000000000000)")
    time.sleep(0.3)
    slow.close()
    started = time.monotonic()
    with _post(address, "SELECT 42 AS answer") as second:
        answer = b""
        while part := second.recv(65_536):
            answer += part
    assert b"42" in answer
    assert time.monotonic() - started < 10  # far below the 30 s the first one was allowed
