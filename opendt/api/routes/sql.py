"""SQL of people's over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from opendt.api import models
from opendt.api.context import Context, context, may_read
from opendt.api.encode import ARROW, CSV, JSON, arrow_bytes, csv_bytes, encode
from opendt.api.errors import RESPONSES
from opendt.api.models import JsonObject
from opendt.api.respond import chosen_format, send_json
from opendt.api.routes.series import TABLES
from opendt.api.security import client_of
from opendt.lake.gallery import GALLERY
from opendt.lake.people import SqlResult
from opendt.lake.plain import plain
from opendt.lake.sql_process import SqlProcess

router = APIRouter(prefix="/api/sql", tags=["sql"], dependencies=[Depends(may_read)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]

WAIT_S = 5.0  # for a free worker
LOOK_S = 0.2  # how often to look whether the client is still there


@router.post(
    "", response_model=models.SqlResponse, summary="Run one read-only statement",
    responses={200: {"content": TABLES}, 408: {**RESPONSES[400], "description": "The statement took too long."}},
)  # fmt: skip
async def run(request: Request, ctx: Ctx, statement: models.SqlRequest) -> Response:
    """Query the lake's tables and views: one SELECT, limits on rows, time and memory, cancelled when you hang up.

    ``Accept: text/csv`` or an Arrow stream give the rows alone.
    """
    ctx.sql_rate.take(client_of(request))
    limits = ctx.settings.lake
    timeout_s = min(statement.timeout_s or limits.sql_timeout_s, limits.sql_timeout_s)
    rows = min(statement.max_rows or limits.sql_max_rows, limits.sql_max_rows)
    working: list[SqlProcess] = []

    def work() -> SqlResult:
        with ctx.sql.process(WAIT_S) as process:
            working.append(process)
            try:
                return process.run(statement.sql, max_rows=rows, timeout_s=timeout_s)
            finally:
                working.clear()

    task = asyncio.ensure_future(run_in_threadpool(work))
    while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
        if await request.is_disconnected():
            for process in working:
                process.cancel()
    return await run_in_threadpool(_response, request, task.result())


@router.get("/tables", response_model=JsonObject, summary="Tables and views with their columns")
def tables(request: Request, ctx: Ctx) -> Response:
    """What can be queried: every table and view, every column with type, unit and meaning."""
    rows = ctx.lake.rows(
        """SELECT c.table_name, c.column_name, c.data_type AS type, d.unit, d.meaning
        FROM duckdb_columns() AS c LEFT JOIN dictionary AS d USING (table_name, column_name)
        WHERE c.database_name = 'lake' AND c.schema_name = 'main' ORDER BY c.table_name, c.column_index"""
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.pop("table_name"), []).append(row)
    items = [{"name": name, "columns": columns} for name, columns in found.items()]
    return send_json(request, {"tables": items})


@router.get("/gallery", response_model=JsonObject, summary="Useful queries")
def gallery(request: Request) -> Response:
    """Queries to start from; the same as in docs/sql.md."""
    items = [{"name": q.name, "title": q.title, "sql": q.sql} for q in GALLERY]
    return send_json(request, {"queries": items})


def _response(request: Request, result: SqlResult) -> Response:
    wanted = chosen_format(request, None)
    headers = {"Cache-Control": "no-store", "X-Truncated": str(result.truncated).lower()}
    if wanted == "csv":
        return Response(csv_bytes(result.table), headers=headers, media_type=CSV)
    if wanted == "arrow":
        return Response(arrow_bytes(result.table), headers=headers, media_type=ARROW)
    body = {
        "columns": [{"name": field.name, "type": str(field.type)} for field in result.table.schema],
        "rows": list(zip(*([plain(v) for v in c.to_pylist()] for c in result.table.columns), strict=True)),
        "truncated": result.truncated,
        "elapsed_s": round(result.elapsed_s, 4),
    }
    return Response(encode(body), headers=headers, media_type=JSON)
