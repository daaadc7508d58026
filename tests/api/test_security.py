"""Who may do what, from where, how much and how often."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from opendt.api.app import create_app
from opendt.api.security import TOKEN_FILE, RateLimit, is_loopback, resolve_token
from opendt.errors import ConfigError, TransientError
from opendt.settings import Settings

from .conftest import AUTH, TOKEN, client_for, make_settings

CHANGES = [
    ("PUT", "/api/topology"), ("POST", "/api/reset_topology"), ("POST", "/api/set_slo"), ("POST", "/api/submit_slo"),
    ("POST", "/api/start"), ("POST", "/api/stop"), ("POST", "/api/accept_recommendation"), ("PUT", "/api/slo"),
    ("POST", "/api/proposals/p-good/approve"), ("POST", "/api/proposals/p-good/reject"),
    ("POST", "/api/topology/rollback"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
def test_changes_need_the_token(client: TestClient, method: str, path: str, header: dict[str, str]) -> None:
    response = client.request(method, path, json={}, headers=header)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_every_changing_route_is_in_the_list_above(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    secured = {
        (verb.upper(), path)
        for path, methods in document["paths"].items()
        for verb, operation in methods.items()
        if operation.get("security")
    }
    listed = {(m, p.replace("p-good", "{proposal_id}")) for m, p in CHANGES} - {("POST", "/api/submit_slo")}
    assert secured == listed


def test_reading_on_loopback_needs_none_and_beyond_it_does(tmp_path: Path, filled_lake: Path) -> None:
    with client_for(make_settings(filled_lake, host="0.0.0.0")) as beyond:
        for path in ("/api/runs", "/metrics", "/api/sql/tables"):
            assert beyond.get(path).status_code == 401
            assert beyond.get(path, headers=AUTH).status_code == 200
        assert beyond.post("/api/sql", json={"sql": "SELECT 1"}).status_code == 401
        assert beyond.get("/health").status_code == 200
    with client_for(make_settings(filled_lake, host="0.0.0.0", public_reads=True)) as public:
        assert public.get("/api/runs").status_code == 200
        assert public.post("/api/stop").status_code == 401


def test_beyond_loopback_without_a_token_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OPENDT_API__TOKEN"):
        create_app(make_settings(tmp_path, host="0.0.0.0"))


def test_open_changes_need_no_token_on_loopback_only(tmp_path: Path, filled_lake: Path) -> None:
    with client_for(make_settings(tmp_path / "lake", open_changes=True)) as open_:
        assert open_.post("/api/stop").status_code == 200
    with client_for(make_settings(tmp_path / "lake", open_changes=True, host="0.0.0.0")) as beyond:
        assert beyond.post("/api/stop").status_code == 401


def test_a_token_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "lake")
    token = resolve_token(settings)
    assert len(token) >= 32
    assert resolve_token(settings) == token
    mode = (tmp_path / "lake" / TOKEN_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_configured_token_is_never_shown() -> None:
    settings = Settings.model_validate({"api": {"token": "very-secret"}})
    assert resolve_token(settings) == "very-secret"
    assert "very-secret" not in str(settings.public())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_other_host_names_are_refused_on_loopback(client: TestClient, host: str) -> None:
    response = client.get("/api/runs", headers={"Host": host})
    assert response.status_code == 403
    assert response.json()["type"] == "forbidden"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9"])
def test_loopback_names_are_served(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


def test_allowed_host_names_are_served(filled_lake: Path) -> None:
    with client_for(make_settings(filled_lake, allowed_hosts=["twin.example"])) as named:
        assert named.get("/health", headers={"Host": "twin.example"}).status_code == 200
        assert named.get("/health", headers={"Host": "other.example"}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_other_origins_cannot_post(client: TestClient, origin: str) -> None:
    for path in ("/api/stop", "/api/sql"):
        response = client.post(path, json={"sql": "SELECT 1"}, headers={**AUTH, "Origin": origin})
        assert response.status_code == 403
    assert client.post("/api/stop", headers={**AUTH, "Origin": "http://127.0.0.1"}).status_code == 200


def test_cors_is_closed(client: TestClient) -> None:
    response = client.get("/api/runs", headers={"Origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_security_headers_are_on_every_answer(client: TestClient) -> None:
    for path in ("/health", "/nowhere", "/api/power", "/docs", "/api/runs?limit=0"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"


def test_large_bodies_are_refused_with_and_without_a_length(filled_lake: Path) -> None:
    with client_for(make_settings(filled_lake, max_body_bytes=10_000)) as small:
        body = b'{"sql": "' + b"x" * 20_000 + b'"}'
        headers = {"Content-Type": "application/json"}
        told = small.post("/api/sql", content=body, headers=headers)
        assert (told.status_code, told.json()["type"]) == (413, "too-large")
        untold = small.post("/api/sql", content=iter([body[:9_000], body[9_000:]]), headers=headers)
        assert (untold.status_code, untold.json()["type"]) == (413, "too-large")


def test_rate_limit_lets_a_burst_through_and_then_one_at_a_time() -> None:
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])
    for _ in range(15):
        limit.take("ann")
    with pytest.raises(TransientError, match="too many requests") as caught:
        limit.take("ann")
    assert caught.value.retry_after_s == 1
    limit.take("bob")
    now[0] = 1.0
    limit.take("ann")
    with pytest.raises(TransientError):
        limit.take("ann")


def test_too_many_statements_are_429_with_a_time_to_wait(filled_lake: Path) -> None:
    with client_for(make_settings(filled_lake, sql_per_minute=4)) as slow:
        assert slow.post("/api/sql", json={"sql": "SELECT 1"}).status_code == 200
        response = slow.post("/api/sql", json={"sql": "SELECT 1"})
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_counts_as_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
