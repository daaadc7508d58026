"""Deciding about proposals: pending → approved | rejected | expired → applied → verified, and back by rollback.

The store is the authority and keeps every step; ``proposals.state`` and the event tables of the lake follow it. Nothing
here waits for anybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from opendt.errors import InputError
from opendt.lake import Lake
from opendt.models.topology import Topology, parse_topology
from opendt.optimize.publish import publish_topology
from opendt.settings import Settings
from opendt.store import ActiveTopology, Decision, Store, copy_events
from opendt.store.records import DecisionKind

MS_PER_HOUR = 3_600_000
STATES: tuple[str, ...] = ("pending", "approved", "rejected", "expired", "applied", "verified", "rolled-back")

Publish = Callable[[Topology], bool]


@dataclass(frozen=True, slots=True)
class Activation:
    """A topology put in force; ``published`` is False when no broker is configured, so that no twin can hear of it."""

    active: ActiveTopology
    published: bool
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a decision touches: settings, store, lake, and how a topology reaches the twin."""

    settings: Settings
    store: Store
    lake: Lake
    publish: Publish

    @classmethod
    def of(cls, settings: Settings, store: Store, lake: Lake) -> Desk:
        """A desk that publishes to ``sim.topology`` where a broker is configured."""

        def publish(topology: Topology) -> bool:
            if not settings.stream.bootstrap_servers:
                return False
            publish_topology(settings.stream, settings.datacenter, topology, "proposal")
            return True

        return cls(settings, store, lake, publish)

    @property
    def datacenter(self) -> str:
        """The datacenter decided about."""
        return self.settings.datacenter


def list_proposals(
    lake: Lake,
    datacenter: str,
    *,
    run_id: str | None = None,
    state: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Proposals as rows of the lake's table, newest first. Raises ``InputError`` for an unknown state."""
    if state is not None and state not in STATES:
        raise InputError(f"state '{state}' is not known; there are {', '.join(STATES)}.")
    where, params = ["datacenter = ?"], [datacenter]
    for column, value in (("run_id", run_id), ("state", state)):
        if value is not None:
            where.append(f"{column} = ?")
            params.append(value)
    return lake.rows(
        f"SELECT * FROM proposals WHERE {' AND '.join(where)} "
        f"ORDER BY created_ms DESC, score NULLS LAST, proposal_id LIMIT {int(limit)} OFFSET {int(offset)}",
        params,
    )


def get_proposal(lake: Lake, datacenter: str, proposal_id: str) -> dict[str, Any]:
    """One proposal. Raises ``InputError`` when there is none of that identifier."""
    found = lake.rows("SELECT * FROM proposals WHERE datacenter = ? AND proposal_id = ?", [datacenter, proposal_id])
    if not found:
        raise InputError(
            f"datacenter {datacenter} has no proposal {proposal_id}. See `opendt proposals`.", proposal_id=proposal_id
        )
    return found[0]


def unpacked(row: dict[str, Any]) -> dict[str, Any]:
    """A proposal's row with its JSON columns as values: ``changes``, ``reasons``, ``details``, ``topology``."""
    names = ("changes", "reasons", "details", "topology")
    values = {name: orjson.loads(row[f"{name}_json"]) for name in names if row[f"{name}_json"]}
    return {k: v for k, v in row.items() if not k.endswith("_json")} | values


def approve(desk: Desk, proposal_id: str, *, decided_by: str, reason: str = "", force: bool = False) -> Activation:
    """Put a proposal's topology in force: recorded, kept for rollback, and published to the twin.

    Args:
        force: approve although another topology came into force since the proposal was made.

    Raises:
        InputError: unknown, decided before, or based on a topology that is no longer in force.
        TransientError: everything is recorded, but the broker did not take the topology; ``publish_active`` repeats it.
    """
    row = get_proposal(desk.lake, desk.datacenter, proposal_id)
    topology = parse_topology(orjson.loads(row["topology_json"]), f"proposal {proposal_id}")
    if row["state"] == "pending":  # otherwise the decision is refused below, for its own reason
        _check_base(desk, row, force)
    _keep_base(desk, row)
    decision = _decide(desk, row, "approved", decided_by, reason, topology.version)
    active = desk.store.set_active_topology(
        desk.datacenter, topology, source="proposal", decided_by=decided_by, run_id=row["run_id"],
        proposal_id=proposal_id, reason=reason,
    )  # fmt: skip
    copy_events(desk.store, desk.lake)
    return Activation(active, desk.publish(topology), decision)


def reject(desk: Desk, proposal_id: str, *, decided_by: str, reason: str = "") -> Decision:
    """Turn a proposal down. Raises ``InputError`` when it is unknown or was decided before."""
    decision = _decide(desk, get_proposal(desk.lake, desk.datacenter, proposal_id), "rejected", decided_by, reason)
    copy_events(desk.store, desk.lake)
    return decision


def expire(desk: Desk, now_ms: int | None = None) -> list[Decision]:
    """Expire pending proposals older than ``optimize.expire_hours``."""
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    hours = desk.settings.optimize.expire_hours
    old = [
        row
        for row in list_proposals(desk.lake, desk.datacenter, state="pending", limit=10_000)
        if row["created_ms"] < now - hours * MS_PER_HOUR
    ]
    reason = f"undecided for {hours:g} h"
    decisions = [_decide(desk, row, "expired", "policy", reason) for row in old]
    copy_events(desk.store, desk.lake)
    return decisions


def rollback(desk: Desk, *, decided_by: str, version: str | None = None, reason: str = "") -> Activation:
    """Put an earlier topology in force again, exactly as it was; the one before the active one when none is named.

    The proposal that brought the present one becomes ``rolled-back``. Raises as ``approve``.
    """
    decision = None
    replaced = desk.store.active_topology(desk.datacenter)
    restored = desk.store.rollback_topology(desk.datacenter, version, decided_by=decided_by, reason=reason)
    if replaced is not None and replaced.proposal_id is not None:
        row = get_proposal(desk.lake, desk.datacenter, replaced.proposal_id)
        decision = _decide(desk, row, "rolled-back", decided_by, reason, restored.version)
    copy_events(desk.store, desk.lake)
    return Activation(restored, desk.publish(restored.topology), decision)


def publish_active(desk: Desk) -> Activation:
    """Publish the topology in force once more. Raises ``InputError`` when none is."""
    active = desk.store.active_topology(desk.datacenter)
    if active is None:
        raise InputError(
            f"no topology was ever put in force for datacenter {desk.datacenter}; approve a proposal first."
        )
    return Activation(active, desk.publish(active.topology))


def reconcile(desk: Desk, rows: list[dict[str, Any]]) -> int:
    """Give rows that were just written again the state of what was decided about them before; returns how many.

    A step that is done again writes the same proposals, as pending, over those that people may have decided about.
    """
    stale = []
    for row in rows:
        decided = desk.store.decisions(desk.datacenter, proposal_id=row["proposal_id"], limit=1)
        if decided and decided[0].decision != row["state"]:
            stale.append(row | {"state": decided[0].decision})
    desk.lake.upsert("proposals", stale)
    return len(stale)


def record(desk: Desk, row: dict[str, Any], kind: DecisionKind, reason: str, **facts: Any) -> Decision:
    """Record a step the system takes by itself (applied, verified)."""
    return _decide(desk, row, kind, "twin", reason, **facts)


def _decide(
    desk: Desk,
    row: dict[str, Any],
    kind: DecisionKind,
    decided_by: str,
    reason: str,
    topology_version: str | None = None,
    predicted_energy_kwh: float | None = None,
    realised_energy_kwh: float | None = None,
) -> Decision:
    decision = desk.store.decide(
        row["proposal_id"], desk.datacenter, kind, decided_by=decided_by, reason=reason,
        topology_version=topology_version,
        predicted_energy_kwh=row["energy_kwh"] if predicted_energy_kwh is None else predicted_energy_kwh,
        realised_energy_kwh=realised_energy_kwh,
    )  # fmt: skip
    desk.lake.upsert("proposals", [row | {"state": kind}])
    return decision


def base_version(row: dict[str, Any]) -> str | None:
    """Version of the topology a proposal was made against."""
    version = orjson.loads(row["details_json"] or "{}").get("base_version")
    return None if version is None else str(version)


def _check_base(desk: Desk, row: dict[str, Any], force: bool) -> None:
    active = desk.store.active_topology(desk.datacenter)
    base = base_version(row)
    if force or active is None or base is None or active.version == base:
        return
    raise InputError(
        f"proposal {row['proposal_id']} changes topology {base}, but {active.version} is in force now. "
        "Make a new proposal, or approve it all the same with --force.",
        proposal_id=row["proposal_id"], base=base, active=active.version,
    )  # fmt: skip


def _keep_base(desk: Desk, row: dict[str, Any]) -> None:
    """Enter the topology a first approval replaces, so that a rollback has something to go back to."""
    if desk.store.active_topology(desk.datacenter) is not None:
        return
    found = desk.lake.rows(
        "SELECT topology_json FROM topologies WHERE datacenter = ? AND version = ?",
        [desk.datacenter, base_version(row) or ""],
    )
    if found:
        before = parse_topology(orjson.loads(found[0]["topology_json"]), "topology before the first approval")
        desk.store.set_active_topology(
            desk.datacenter, before, source="trace", decided_by="twin", run_id=row["run_id"],
            reason="in force before the first approval",
        )  # fmt: skip
