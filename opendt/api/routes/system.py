"""About the system: versions, engine, streams, replays, lake."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from opendt import __version__
from opendt.api import models
from opendt.api.context import Context, context, may_read, page
from opendt.api.errors import RESPONSES
from opendt.api.models import JsonObject
from opendt.api.parameters import DatacenterQuery, Limit, Offset
from opendt.api.respond import send_json
from opendt.code_version import code_version
from opendt.lake.info import lake_info
from opendt.lake.plain import plain_rows
from opendt.optimize.space import POLICIES

router = APIRouter(prefix="/api", tags=["system"], dependencies=[Depends(may_read)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]


@router.get("/info", response_model=JsonObject, summary="Version, datacenter, links and settings")
def info(request: Request, ctx: Ctx) -> Response:
    """What this server is, with its settings; secrets are masked."""
    settings = ctx.settings
    body = {
        "name": "OpenDT",
        "version": __version__,
        "code_version": code_version(),
        "datacenter": settings.datacenter,
        "lake": str(settings.lake.path),
        "prefect_ui": f"http://{settings.prefect.host}:{settings.prefect.port}",
        "changes_need_token": not (ctx.guard.loopback and settings.api.open_changes),
        "allocation_policies": list(POLICIES),
        "settings": settings.public(),
    }
    return send_json(request, body)


@router.get("/engine", response_model=JsonObject, summary="The engine in use")
def engine(request: Request, ctx: Ctx) -> Response:
    """Name and version of the configured engine, and what the latest run used."""
    from opendt.engine import get_engine
    from opendt.errors import OpenDTError

    settings = ctx.settings
    body: dict[str, Any] = {"name": settings.engine.name, "available": True, "reason": None, "version": None}
    try:
        body["version"] = get_engine(settings.engine.name, settings).version
    except OpenDTError as error:
        body |= {"available": False, "reason": error.message}
    body["settings"] = settings.engine.model_dump(mode="json")
    return send_json(request, body)


@router.get("/stream", response_model=JsonObject, summary="State of the stream")
def stream(request: Request, ctx: Ctx) -> Response:
    """Broker and topics as configured, and how the latest run gets on with its input."""
    settings = ctx.settings.stream
    latest = plain_rows(
        ctx.lake.query(
            """SELECT run_id, datacenter, arg_max(offsets_json, window_index)::JSON AS offsets,
               make_timestamptz(1000 * max(end_ms)) AS watermark,
               make_timestamptz(1000 * max(committed_ms)) AS committed,
               sum(late_records)::BIGINT AS late_records, sum(duplicate_records)::BIGINT AS duplicate_records,
               sum(dead_letters)::BIGINT AS dead_letters, avg(wall_ms) AS mean_window_ms, max(wall_ms) AS max_window_ms
            FROM windows WHERE (run_id, datacenter) IN (SELECT (run_id, datacenter) FROM latest_run) GROUP BY ALL"""
        )
    )
    body = {
        "broker": request.app.state.broker.state(),
        "bootstrap_servers": settings.bootstrap_servers or "embedded, in the process of each run",
        "topics": settings.topics.model_dump(),
        "layout": settings.layout,
        "runs": latest,
    }
    return send_json(request, body)


@router.get("/replays", response_model=models.Page, summary="Replays, newest first")
def replays(
    request: Request, ctx: Ctx, limit: Limit = 50, offset: Offset = 0, datacenter: DatacenterQuery = None
) -> Response:
    """What producers sent, at which speed, and how far they fell behind."""
    (count,) = ctx.lake.rows("SELECT count(*) AS n FROM replays WHERE $1 IS NULL OR datacenter = $1", [datacenter])
    rows = ctx.lake.query(
        "SELECT *, make_timestamptz(started_ms * 1000) AS started, make_timestamptz(ended_ms * 1000) AS ended "
        f"FROM replays WHERE $1 IS NULL OR datacenter = $1 ORDER BY started_ms DESC, replay_id "
        f"LIMIT {limit} OFFSET {offset}",
        [datacenter],
    )
    return send_json(request, page(plain_rows(rows), count["n"], limit, offset))


@router.get("/lake", response_model=JsonObject, summary="Size and snapshots of the lake")
def lake(request: Request, ctx: Ctx) -> Response:
    """Tables with rows, files and bytes; the same as `opendt lake info`."""
    return send_json(request, lake_info(ctx.lake))
