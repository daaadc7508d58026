"""The endpoints of both older systems, with their paths, parameters and fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from starlette.responses import Response

from opendt.api import models, older
from opendt.api.context import Context, context, epoch_ms, may_change, may_read
from opendt.api.errors import RESPONSES
from opendt.api.models import JsonObject
from opendt.api.parameters import DatacenterQuery, FormatQuery
from opendt.api.respond import send_json
from opendt.api.routes.series import TABLES, series_response
from opendt.api.series import OLD_CARBON, OLD_POWER, Span
from opendt.errors import InputError
from opendt.models.topology import Topology, parse_topology
from opendt.optimize.slo import set_slo, slo_in_force
from opendt.store import Store, copy_events

reads = APIRouter(prefix="/api", tags=["older API"], dependencies=[Depends(may_read)], responses=RESPONSES)
changes = APIRouter(prefix="/api", tags=["older API"], dependencies=[Depends(may_change)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]
Interval = Annotated[int, Query(gt=0, le=3_600, description="Sampling interval in seconds (1-3600).")]
Start = Annotated[datetime | None, Query(description="Optional start time (ISO 8601 format).")]
End = Annotated[datetime | None, Query(description="Optional end time, excluded (ISO 8601 format).")]
RunQuery = Annotated[str, Query(min_length=1, max_length=200, description="A run, or latest.")]

EXAMPLE_TOPOLOGY = {
    "clusters": [
        {
            "name": "C01",
            "hosts": [
                {
                    "name": "H01",
                    "count": 277,
                    "cpu": {"coreCount": 16, "coreSpeed": 2100},
                    "memory": {"memorySize": "128 GB"},
                    "cpuPowerModel": {
                        "modelType": "mse", "power": 300, "idlePower": 25, "maxPower": 174, "calibrationFactor": 10,
                    },
                }
            ],
        }
    ]
}  # fmt: skip


@reads.get("/power", response_model=models.PowerResponse, responses={200: {"content": TABLES}}, summary="Power")
def power(
    request: Request, ctx: Ctx, interval_seconds: Interval = 60, start_time: Start = None, end_time: End = None,
    run_id: RunQuery = "latest", datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Simulated and measured power [W], mean per interval, of the run started last or of the one named.

    ``actual_power`` is null where there is no measurement.
    """
    at = ctx.lake.commit()
    run = ctx.run_key(run_id, datacenter, at)
    span = Span(interval_seconds, epoch_ms(start_time), epoch_ms(end_time))
    return series_response(request, ctx, OLD_POWER, run, span, output, at, {"workload": ctx.trace_of(run, at)})


@reads.get(
    "/co2_emission", response_model=models.CarbonResponse, responses={200: {"content": TABLES}}, summary="Carbon"
)
def co2_emission(
    request: Request, ctx: Ctx, interval_seconds: Interval = 60, start_time: Start = None, end_time: End = None,
    run_id: RunQuery = "latest", datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Carbon intensity [gCO2/kWh], simulated power [W] and emission rate [gCO2/h], mean per interval."""
    span = Span(interval_seconds, epoch_ms(start_time), epoch_ms(end_time))
    at = ctx.lake.commit()
    return series_response(request, ctx, OLD_CARBON, ctx.run_key(run_id, datacenter, at), span, output, at)


@reads.get("/status", response_model=JsonObject, summary="State of the system")
def status(request: Request, ctx: Ctx) -> Response:
    """What runs, the last window, the best proposal, targets and topology in force."""
    return send_json(request, older.status(ctx))


@reads.get("/sim/timeseries", response_model=JsonObject, summary="Utilisation and energy per window")
def sim_timeseries(
    request: Request, ctx: Ctx, run_id: RunQuery = "latest", datacenter: DatacenterQuery = None
) -> Response:
    """Three lists of equal length: mean utilisation (0 to 1), energy [kWh] and end of each window."""
    run = older.latest_run(ctx) if run_id == "latest" and not datacenter else ctx.run_key(run_id, datacenter)
    return send_json(request, older.timeseries(ctx, run))


@reads.get("/topology", response_model=JsonObject, summary="Topology in force and the best one proposed")
def get_topology(request: Request, ctx: Ctx) -> Response:
    """``current_topology``, ``best_config`` (the best pending proposal) and how often the topology was changed."""
    return send_json(request, older.topology_state(ctx))


@changes.put("/topology", summary="Put a topology in force")
def put_topology(
    ctx: Ctx, topology: Annotated[dict[str, Any], Body(description="OpenDC's format.", examples=[EXAMPLE_TOPOLOGY])]
) -> dict[str, Any]:
    """Check a topology, record it as the active one and announce it to the twin on ``sim.topology``."""
    checked = parse_topology(topology)
    published = _activate(ctx, checked, "put by API")
    topic = ctx.settings.stream.topics.sim_topology
    return {
        "status": "updated",
        "message": f"Topology published to {topic}" if published else "Topology recorded; no broker is configured, so "
        "a twin that is running will not hear of it",
        "clusters": len(checked.clusters),
        "total_hosts": checked.host_count,
        "total_cores": checked.core_count,
        "topic": topic,
        "version": checked.version,
    }  # fmt: skip


@changes.post("/reset_topology", summary="Go back to the first topology")
def reset_topology(ctx: Ctx) -> dict[str, Any]:
    """Put the first topology that was ever in force here back in force."""
    from opendt.optimize.decisions import rollback

    with ctx.desk() as desk:
        history = desk.store.topology_history(desk.datacenter, limit=10_000)
        if history and history[0].version != history[-1].version:
            rollback(desk, decided_by="api", version=history[-1].version, reason="reset by API")
    return {"message": "Topology reset to initial configuration"}


@changes.post("/set_slo", summary="Set the energy and runtime targets")
@changes.post("/submit_slo", summary="Set the energy and runtime targets", include_in_schema=False)
def set_targets(ctx: Ctx, targets: models.SloRequest) -> dict[str, Any]:
    """Change these two targets and keep the others; they hold from the next window on."""
    with Store.open(ctx.settings) as store:
        now = slo_in_force(ctx.settings, store)
        wanted = now.slo.model_copy(update={"energy_kwh": targets.energy_target, "runtime_h": targets.runtime_target})
        unchanged = wanted == now.slo
        if not unchanged:
            set_slo(ctx.settings, store, wanted, "api")
    if not unchanged:
        with ctx.desk() as desk:
            copy_events(desk.store, desk.lake)
    return {
        "status": "unchanged" if unchanged else "success",
        "energy_target": wanted.energy_kwh,
        "runtime_target": wanted.runtime_h,
    }


@changes.post("/start", summary="Start a run")
def start(ctx: Ctx, wanted: Annotated[models.StartRequest | None, Body()] = None) -> dict[str, Any]:
    """Replay a trace through the whole system, in the background. One run at a time."""
    from pathlib import Path

    if ctx.launcher.state in ("running", "stopping"):
        return {"message": f"System is {ctx.launcher.state}", "run_id": ctx.launcher.run_id}
    asked = wanted or models.StartRequest()
    run_id = ctx.launcher.start(Path(asked.trace) if asked.trace else None, asked.speed, asked.run_id)
    return {"message": "System is starting...", "run_id": run_id}


@changes.post("/stop", summary="Stop the run that was started here")
def stop(ctx: Ctx) -> dict[str, Any]:
    """Ask the run to stop; it commits what it has."""
    return {"message": "System stopped" if ctx.launcher.stop() else "System already stopped"}


@changes.post("/accept_recommendation", summary="Accept the best proposal, or a topology of your own")
def accept_recommendation(
    ctx: Ctx, wanted: Annotated[models.RecommendationRequest | None, Body()] = None
) -> dict[str, Any]:
    """Approve the best pending proposal (or put the given topology in force) and announce it to the twin."""
    from opendt.optimize.decisions import approve

    if wanted is not None and wanted.topology is not None:
        applied = parse_topology(wanted.topology)
        _activate(ctx, applied, "recommendation accepted by API")
    else:
        proposal = older.best_proposal(ctx)
        if proposal is None:
            raise InputError("No recommendation available")
        with ctx.desk() as desk:
            applied = approve(desk, proposal["proposal_id"], decided_by="api", force=True).active.topology
    state = older.topology_state(ctx)
    return {
        "message": "Topology updated successfully with LLM recommendation",
        "topology_updates": state["topology_updates"],
        "applied_config": state["current_topology"],
        "version": applied.version,
    }


def _activate(ctx: Context, topology: Topology, reason: str) -> bool:
    """Record a topology as active and announce it; returns whether there was a broker to announce it to."""
    with ctx.desk() as desk:
        desk.store.set_active_topology(desk.datacenter, topology, source="api", decided_by="api", reason=reason)
        copy_events(desk.store, desk.lake)
        return desk.publish(topology)
