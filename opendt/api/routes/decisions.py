"""Proposals, decisions about them, service level objectives, and the topology's history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, cast

import orjson
from fastapi import APIRouter, Body, Depends, Path, Query, Request
from starlette.responses import Response

from opendt.api import models
from opendt.api.context import Context, context, may_change, may_read, page
from opendt.api.errors import RESPONSES, ConflictError, NotFoundError
from opendt.api.models import JsonObject
from opendt.api.parameters import DatacenterQuery, Limit, Offset
from opendt.api.respond import send_json
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.optimize.decisions import STATES, Activation, approve, list_proposals, reject, rollback, unpacked
from opendt.optimize.slo import set_slo, slo_in_force
from opendt.settings import SloSettings
from opendt.store import ActiveTopology, Decision, copy_events
from opendt.units import iso

reads = APIRouter(prefix="/api", tags=["decisions"], dependencies=[Depends(may_read)], responses=RESPONSES)
changes = APIRouter(
    prefix="/api", tags=["decisions"], dependencies=[Depends(may_change)],
    responses={**RESPONSES, 409: {"model": RESPONSES[400]["model"], "description": "Contradicts the present state."}},
)  # fmt: skip
Ctx = Annotated[Context, Depends(context)]
ProposalId = Annotated[str, Path(min_length=1, max_length=200)]


@reads.get("/proposals", response_model=models.Page, summary="Proposals, newest first")
def proposals(
    request: Request, ctx: Ctx, limit: Limit = 50, offset: Offset = 0, datacenter: DatacenterQuery = None,
    run_id: Annotated[str | None, Query(max_length=200, description="Only of this run.")] = None,
    state: Annotated[str | None, Query(max_length=40, description=", ".join(STATES))] = None,
) -> Response:  # fmt: skip
    """What was proposed, why, and what simulation says about it beside the baseline."""
    where = datacenter or ctx.settings.datacenter
    rows = list_proposals(cast(Lake, ctx.lake), where, run_id=run_id, state=state, limit=limit, offset=offset)
    (count,) = ctx.lake.rows(
        "SELECT count(*) AS n FROM proposals WHERE datacenter = $1 AND ($2 IS NULL OR run_id = $2) "
        "AND ($3 IS NULL OR state = $3)",
        [where, run_id, state],
    )
    return send_json(request, page([_proposal(row) for row in rows], count["n"], limit, offset))


@reads.get("/proposals/{proposal_id}", response_model=JsonObject, summary="One proposal with its decisions")
def proposal(request: Request, ctx: Ctx, proposal_id: ProposalId, datacenter: DatacenterQuery = None) -> Response:
    """A proposal in full, with every decision about it."""
    row = _found(ctx, proposal_id, datacenter)
    with ctx.store() as store:
        decided = [_decision(d) for d in store.decisions(row["datacenter"], proposal_id=proposal_id)]
    return send_json(request, _proposal(row) | {"decisions": decided})


@changes.post("/proposals/{proposal_id}/approve", summary="Approve a proposal")
def approve_proposal(
    ctx: Ctx, proposal_id: ProposalId, decision: Annotated[models.DecisionRequest | None, Body()] = None,
    datacenter: DatacenterQuery = None,
) -> dict[str, Any]:  # fmt: skip
    """Put its topology in force: recorded, kept for rollback, announced to the twin. Conflicts are 409."""
    asked = decision or models.DecisionRequest()
    row = _found(ctx, proposal_id, datacenter)
    with ctx.desk(row["datacenter"]) as desk:
        try:
            done = approve(desk, proposal_id, decided_by=asked.decided_by, reason=asked.reason, force=asked.force)
        except InputError as error:
            raise ConflictError(error.message, **error.facts) from None
    return _activation(done)


@changes.post("/proposals/{proposal_id}/reject", summary="Reject a proposal")
def reject_proposal(
    ctx: Ctx, proposal_id: ProposalId, decision: Annotated[models.DecisionRequest | None, Body()] = None,
    datacenter: DatacenterQuery = None,
) -> dict[str, Any]:  # fmt: skip
    """Turn it down, for good. Conflicts are 409."""
    asked = decision or models.DecisionRequest()
    row = _found(ctx, proposal_id, datacenter)
    with ctx.desk(row["datacenter"]) as desk:
        try:
            return {"decision": _decision(reject(desk, proposal_id, decided_by=asked.decided_by, reason=asked.reason))}
        except InputError as error:
            raise ConflictError(error.message, **error.facts) from None


@reads.get("/decisions", response_model=models.Page, summary="Decisions, newest first")
def decisions(
    request: Request, ctx: Ctx, limit: Limit = 50, offset: Offset = 0, datacenter: DatacenterQuery = None,
) -> Response:  # fmt: skip
    """Who decided what about which proposal, and why."""
    with ctx.store() as store:
        rows = store.decisions(datacenter or ctx.settings.datacenter, limit=100_000)
    items = [_decision(d) for d in rows[offset : offset + limit]]
    return send_json(request, page(items, len(rows), limit, offset))


@reads.get("/slo", response_model=JsonObject, summary="Targets in force")
def get_slo(request: Request, ctx: Ctx) -> Response:
    """The service level objectives that hold now; version 0 are those of the settings."""
    with ctx.store() as store:
        found = slo_in_force(ctx.settings, store)
    body = {"slo": found.slo.model_dump(), "version": found.version, "source": found.source}
    return send_json(request, body)


@changes.put("/slo", summary="Set all targets")
def put_slo(ctx: Ctx, slo: SloSettings) -> dict[str, Any]:
    """Replace the service level objectives; they hold from the next window on."""
    with ctx.desk() as desk:
        done = set_slo(desk.settings, desk.store, slo, "api")
        copy_events(desk.store, desk.lake)
    return {"slo": done.slo.model_dump(), "version": done.version, "source": done.source}


@reads.get("/slo/history", response_model=models.Page, summary="Versions of the targets, newest first")
def slo_history(
    request: Request, ctx: Ctx, limit: Limit = 50, offset: Offset = 0, datacenter: DatacenterQuery = None
) -> Response:
    """Every set of targets there was."""
    with ctx.store() as store:
        rows = store.slo_history(datacenter or ctx.settings.datacenter, limit=100_000)
    items = [
        {"version": v.version, "slo": v.slo.model_dump(), "source": v.source, "created": iso(v.created_ms)}
        for v in rows[offset : offset + limit]
    ]
    return send_json(request, page(items, len(rows), limit, offset))


@reads.get("/topology/history", response_model=models.Page, summary="Topologies that were in force, newest first")
def topology_history(
    request: Request, ctx: Ctx, limit: Limit = 50, offset: Offset = 0, datacenter: DatacenterQuery = None
) -> Response:
    """Every activation: which version, from where, by whom, why."""
    with ctx.store() as store:
        rows = store.topology_history(datacenter or ctx.settings.datacenter, limit=100_000)
    items = [_active(a) for a in rows[offset : offset + limit]]
    return send_json(request, page(items, len(rows), limit, offset))


@changes.post("/topology/rollback", summary="Go back to an earlier topology")
def rollback_topology(
    ctx: Ctx, wanted: Annotated[models.RollbackRequest | None, Body()] = None, datacenter: DatacenterQuery = None
) -> dict[str, Any]:
    """Put an earlier topology in force again, exactly as it was. Without an earlier one: 409."""
    asked = wanted or models.RollbackRequest()
    with ctx.desk(datacenter) as desk:
        try:
            done = rollback(desk, decided_by=asked.decided_by, version=asked.version, reason=asked.reason)
        except InputError as error:
            raise ConflictError(error.message, **error.facts) from None
    return _activation(done)


def _found(ctx: Context, proposal_id: str, datacenter: str | None) -> dict[str, Any]:
    rows = ctx.lake.rows(
        "SELECT * FROM proposals WHERE proposal_id = $1 AND ($2 IS NULL OR datacenter = $2) LIMIT 1",
        [proposal_id, datacenter],
    )
    if not rows:
        raise NotFoundError(f"there is no proposal {proposal_id}. See /api/proposals.", proposal_id=proposal_id)
    return rows[0]


def _proposal(row: dict[str, Any]) -> dict[str, Any]:
    created = row["created_ms"]
    return unpacked(row) | {"created": None if created is None else iso(created)}


def _decision(decision: Decision) -> dict[str, Any]:
    return asdict(decision) | {"created": iso(decision.created_ms)}


def _active(active: ActiveTopology) -> dict[str, Any]:
    return {
        "version": active.version,
        "source": active.source,
        "run_id": active.run_id,
        "proposal_id": active.proposal_id,
        "decided_by": active.decided_by,
        "reason": active.reason,
        "activated": iso(active.activated_ms),
        "hosts": active.topology.host_count,
        "cores": active.topology.core_count,
        "topology": orjson.loads(active.topology.to_json()),
    }


def _activation(done: Activation) -> dict[str, Any]:
    return {
        "active": _active(done.active),
        "published": done.published,
        "decision": _decision(done.decision) if done.decision else None,
    }
