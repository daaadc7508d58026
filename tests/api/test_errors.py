"""Every error of every route has the one shape::

{"error": text, "type": word, "status": code, "facts": object, "request_id": text}
"""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from .conftest import AUTH

SHAPE = {"error", "type", "status", "facts", "request_id"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/nowhere", None, 404, "not-found"),
        ("DELETE", "/api/runs", None, 405, "method-not-allowed"),
        ("GET", "/api/runs/nope", None, 404, "not-found"),
        ("GET", "/api/runs?limit=0", None, 422, "not-valid"),
        ("GET", "/api/power?start_time=yesterday", None, 422, "not-valid"),
        ("POST", "/api/sql", {"sql": "DROP TABLE runs"}, 400, "bad-request"),
        ("POST", "/api/sql", {"sql": "SELECT 1", "more": 1}, 422, "not-valid"),
        ("POST", "/api/whatif", {"variants": []}, 422, "not-valid"),
        ("PUT", "/api/topology", {"clusters": 5}, 400, "bad-request"),
        ("POST", "/api/proposals/p-good/approve", {"decided_by": ""}, 422, "not-valid"),
    ],
)
def test_one_shape(client: TestClient, method: str, path: str, body: object, status: int, kind: str) -> None:
    response = client.request(method, path, json=body, headers=AUTH)
    assert response.status_code == status
    found = response.json()
    assert set(found) == SHAPE
    assert (found["status"], found["type"]) == (status, kind)
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["error"].endswith(".") or "LINE" in found["error"]


READS = [
    "/api/power", "/api/co2_emission", "/api/runs", "/api/runs/latest", "/api/runs/latest/power", "/api/proposals",
    "/api/runs/latest/heatmap", "/api/lake", "/api/stream", "/api/replays", "/api/sql/tables",
]  # fmt: skip


@pytest.mark.parametrize("path", READS)
def test_lake_that_is_being_created_is_no_lake_yet(half_made: TestClient, bare: TestClient, path: str) -> None:
    found, missing = half_made.get(path), bare.get(path)
    assert (found.status_code, found.json()["type"]) == (404, "no-lake")
    assert (missing.status_code, missing.json()["type"]) == (404, "no-lake")
    assert "there is no lake here" in found.json()["error"]


def test_what_answers_without_a_lake_answers_while_it_is_created(half_made: TestClient) -> None:
    assert half_made.get("/ready").json()["checks"]["lake"]["ok"]
    assert half_made.get("/api/status").json()["status"] == "stopped"
    assert half_made.get("/metrics").status_code == 200
    response = half_made.post("/api/sql", json={"sql": "SELECT * FROM runs"})
    assert (response.status_code, response.json()["type"]) == (404, "no-lake")


def test_body_that_is_not_json(client: TestClient) -> None:
    response = client.post("/api/sql", content=b"{", headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert set(response.json()) == SHAPE


def test_unforeseen_error_shows_no_trace(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("opendt.api.routes.system.lake_info", broken)
    response = client.get("/api/lake")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert response.json()["type"] == "failed"
