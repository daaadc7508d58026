"""Proposals, targets and topology versions over HTTP."""

from __future__ import annotations

from starlette.testclient import TestClient

from .conftest import AUTH, topology


def test_proposals_show_changes_and_reasons(client: TestClient) -> None:
    body = client.get("/api/proposals").json()
    assert body["total"] == 2
    first = body["items"][0]
    assert first["proposal_id"] == "p-good"
    assert first["changes"] == {"clusters[0].hosts[0].count": 1}
    assert first["reasons"] == ["fewer idle hosts"]
    assert client.get("/api/proposals?state=rejected").json()["items"] == []
    assert client.get("/api/proposals?state=nonsense").status_code == 400
    assert client.get("/api/proposals/nope").status_code == 404


def test_approval_is_recorded_and_can_be_rolled_back(own: TestClient) -> None:
    done = own.post("/api/proposals/p-good/approve", json={"decided_by": "ann", "reason": "ok"}, headers=AUTH)
    assert done.status_code == 200
    assert done.json()["active"]["hosts"] == 1
    assert done.json()["published"] is False
    one = own.get("/api/proposals/p-good").json()
    assert one["state"] == "approved"
    assert [(d["decision"], d["decided_by"]) for d in one["decisions"]] == [("approved", "ann")]

    again = own.post("/api/proposals/p-good/approve", headers=AUTH)
    assert again.status_code == 409
    assert "already" in again.json()["error"]

    own.put("/api/topology", json={"clusters": topology(4).model_dump(mode="json")["clusters"]}, headers=AUTH)
    back = own.post("/api/topology/rollback", json={"decided_by": "bob"}, headers=AUTH)
    assert back.json()["active"]["hosts"] == 1
    history = own.get("/api/topology/history").json()
    assert [item["hosts"] for item in history["items"]] == [1, 4, 1, 2]
    assert own.get("/api/decisions").json()["items"][0]["reason"] == "ok"


def test_rejection_is_final(own: TestClient) -> None:
    assert own.post("/api/proposals/p-fair/reject", headers=AUTH).json()["decision"]["decision"] == "rejected"
    assert own.post("/api/proposals/p-fair/approve", headers=AUTH).status_code == 409
    assert own.post("/api/proposals/nope/reject", headers=AUTH).status_code == 404


def test_rollback_without_history_is_a_conflict(own: TestClient) -> None:
    response = own.post("/api/topology/rollback", headers=AUTH)
    assert response.status_code == 409
    assert "earlier versions: none" in response.json()["error"]


def test_targets_have_versions(own: TestClient) -> None:
    assert own.get("/api/slo").json()["version"] == 0
    assert own.put("/api/slo", json={"energy_kwh": 7, "peak_power_kw": 2}, headers=AUTH).json()["version"] == 1
    assert own.put("/api/slo", json={"energy_kwh": 6}, headers=AUTH).json()["version"] == 2
    assert own.get("/api/slo").json()["slo"]["energy_kwh"] == 6
    assert [v["version"] for v in own.get("/api/slo/history").json()["items"]] == [2, 1]
    assert own.put("/api/slo", json={"energy_kwh": -1}, headers=AUTH).status_code == 422
    assert own.put("/api/slo", json={"energy": 1}, headers=AUTH).status_code == 422
