"""Approval without a person: off unless switched on, and then only within its limits."""

from __future__ import annotations

import time
from typing import Any

import orjson

from opendt.models.topology import parse_topology
from opendt.optimize.decisions import Activation, Desk, approve
from opendt.optimize.proposal import NO_OP

DECIDED_BY = "policy:auto"
MS_PER_DAY = 86_400_000


def auto_approve(desk: Desk, rows: list[dict[str, Any]], now_ms: int | None = None) -> tuple[Activation | None, str]:
    """(activation or None, why) over rows of table ``proposals`` just made: the best one that keeps every limit.

    Limits: ``optimize.auto_approve`` on, every objective met, at least ``auto_min_saving_pct`` energy saved also at the
    lower end of the band, at most ``auto_max_hosts_changed_pct`` of the hosts changed, no other allocation policy, at
    most ``auto_max_per_day`` in 24 hours. Raises as ``approve``.
    """
    if not desk.settings.optimize.auto_approve:
        return None, "optimize.auto_approve is off: a person decides"
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    most = desk.settings.optimize.auto_max_per_day
    if _approved_since(desk, now - MS_PER_DAY) >= most:
        return None, f"{most} automatic approvals in 24 hours are the limit"
    refused: list[str] = []
    for row in sorted(rows, key=lambda r: (r["score"] is None, r["score"], r["proposal_id"])):
        why = refusal(desk, row)
        if why is None:
            reason = f"within the limits of the automatic policy: {_effect(row)}"
            return approve(desk, row["proposal_id"], decided_by=DECIDED_BY, reason=reason), reason
        refused.append(f"{row['strategy']}: {why}")
    return None, "; ".join(refused) or "there are no proposals"


def refusal(desk: Desk, row: dict[str, Any]) -> str | None:
    """Why the policy does not approve a proposal, None when it does."""
    limits = desk.settings.optimize
    changes: dict[str, Any] = orjson.loads(row["changes_json"])
    if row["strategy"] == NO_OP or not changes:
        return "changes nothing"
    if "allocation" in changes:
        return "changes the allocation policy, which a topology cannot carry"
    details = orjson.loads(row["details_json"])
    if not details.get("meets_slos"):
        return "misses an objective or was not simulated"
    worst_kwh = row["energy_kwh"] if row["energy_high_kwh"] is None else max(row["energy_kwh"], row["energy_high_kwh"])
    saving_pct = 100.0 * (1.0 - worst_kwh / row["baseline_energy_kwh"])
    if saving_pct < limits.auto_min_saving_pct:
        return f"saves {saving_pct:.2f} % for sure, {limits.auto_min_saving_pct:g} % are needed"
    changed_pct = _hosts_changed_pct(desk, row, details)
    if changed_pct is None:
        return "the topology it changes is not known"
    if changed_pct > limits.auto_max_hosts_changed_pct:
        return f"changes {changed_pct:.1f} % of the hosts, {limits.auto_max_hosts_changed_pct:g} % are allowed"
    return None


def _hosts_changed_pct(desk: Desk, row: dict[str, Any], details: dict[str, Any]) -> float | None:
    """Hosts added, removed or changed in any other way, relative to the hosts there are [%]."""
    found = desk.lake.rows(
        "SELECT topology_json FROM topologies WHERE datacenter = ? AND version = ?",
        [desk.datacenter, str(details.get("base_version"))],
    )
    if not found:
        return None
    before = parse_topology(orjson.loads(found[0]["topology_json"]))
    after = parse_topology(orjson.loads(row["topology_json"]))
    changed = 0
    for old_cluster, new_cluster in zip(before.clusters, after.clusters, strict=True):
        for old, new in zip(old_cluster.hosts, new_cluster.hosts, strict=True):
            same_kind = old.model_copy(update={"count": new.count}) == new
            changed += abs(new.count - old.count) if same_kind else max(new.count, old.count)
    return 100.0 * changed / max(1, before.host_count)


def _approved_since(desk: Desk, since_ms: int) -> int:
    decisions = desk.store.decisions(desk.datacenter, limit=1000)
    return sum(
        1 for d in decisions if d.decision == "approved" and d.decided_by == DECIDED_BY and d.created_ms >= since_ms
    )


def _effect(row: dict[str, Any]) -> str:
    return str(orjson.loads(row["details_json"]).get("effect", ""))
