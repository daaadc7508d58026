"""Alive, ready, and in numbers."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from opendt.api.broker import BrokerCheck
from opendt.settings import StreamSettings


def test_health_has_the_older_fields_and_tells_the_truth(client: TestClient, bare: TestClient) -> None:
    for served in (client, bare):
        body = served.get("/health").json()
        assert (body["status"], body["kafka"], body["config"]) == ("healthy", "not configured", "loaded")


def test_ready_names_each_part(client: TestClient) -> None:
    body = client.get("/ready").json()
    assert body["status"] == "ready"
    assert set(body["checks"]) == {"lake", "store", "broker"}
    assert body["checks"]["lake"]["detail"].startswith("snapshot ")


def test_an_empty_lake_is_ready_for_the_first_run(bare: TestClient) -> None:
    body = bare.get("/ready").json()
    assert body["status"] == "ready"
    assert "no run has written" in body["checks"]["lake"]["detail"]


def test_broken_lake_and_missing_broker_are_not_ready(bare: TestClient) -> None:
    ctx = bare.app.state.context  # type: ignore[attr-defined]
    ctx.settings.lake.path.mkdir()
    (ctx.settings.lake.path / "catalog.sqlite").write_bytes(b"not a database" * 100)
    check = BrokerCheck(StreamSettings(bootstrap_servers="127.0.0.1:9"))
    bare.app.state.broker = check  # type: ignore[attr-defined]
    response = bare.get("/ready")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert not checks["lake"]["ok"]
    assert not checks["broker"]["ok"]
    assert "127.0.0.1:9" in checks["broker"]["detail"]
    assert bare.get("/health").json()["kafka"] == "disconnected"


def test_metrics_are_prometheus_text_about_requests_and_the_run(client: TestClient) -> None:
    client.get("/api/runs/run-1/windows")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    line = re.compile(r'^[a-z_]+(\{([a-z_]+="[^"]*",?)*\})? -?[0-9.e+-]+$|^[a-z_]+\{.*le="\+Inf".*\} \d+$')
    assert [text for text in lines if not text.startswith("#") and not line.match(text)] == []
    values = dict(text.rsplit(" ", 1) for text in lines if not text.startswith("#"))
    labels = '{datacenter="dc",run_id="run-1"}'
    assert values[f"opendt_run_windows_total{labels}"] == "6"
    assert float(values[f"opendt_power_simulated_watts{labels}"]) == 1_500.0
    count = values['opendt_http_requests_total{method="GET",route="/api/runs/{run_id}/windows",status="200"}']
    assert int(count) >= 1


def test_metrics_answer_before_the_first_run(bare: TestClient) -> None:
    text = bare.get("/metrics").text
    assert "opendt_build_info" in text
    assert "opendt_run_windows_total" not in text
