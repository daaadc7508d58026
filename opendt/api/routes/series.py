"""Time series of a run: power, carbon, hosts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from opendt.api import models
from opendt.api.context import Context, context, may_read
from opendt.api.errors import RESPONSES
from opendt.api.parameters import CoarseSpanQuery, DatacenterQuery, FormatQuery, RunId, SpanQuery
from opendt.api.respond import Body, chosen_format, make_body, make_long_body, send, tag_of
from opendt.api.series import CARBON, POWER, Series, Span, read_heatmap, read_hosts
from opendt.lake.plain import plain
from opendt.lake.reader import Commit, RunKey

TABLES: dict[str, dict[str, str]] = {"text/csv": {}, "application/vnd.apache.arrow.stream": {}}
router = APIRouter(
    prefix="/api/runs/{run_id}", tags=["time series"], dependencies=[Depends(may_read)],
    responses={**RESPONSES, 200: {"content": TABLES}},
)  # fmt: skip
Ctx = Annotated[Context, Depends(context)]
Metric = Annotated[
    Literal["cpu_utilization_ratio", "power_w", "tasks_running", "cpu_usage_mhz", "cpu_demand_mhz"],
    Query(description="What to show of each host."),
]


@router.get("/power", response_model=models.Series, summary="Power simulated and measured, with band")
def power(
    request: Request, ctx: Ctx, run_id: RunId, span: SpanQuery, datacenter: DatacenterQuery = None,
    output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Means per interval of simulated, uncalibrated and measured power, band, persistence, utilisation, tasks."""
    at = ctx.lake.commit()
    return series_response(request, ctx, POWER, ctx.run_key(run_id, datacenter, at), span, output, at)


@router.get("/carbon", response_model=models.Series, summary="Carbon intensity, emission and energy")
def carbon(
    request: Request, ctx: Ctx, run_id: RunId, span: SpanQuery, datacenter: DatacenterQuery = None,
    output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Mean intensity and power, and the emission and energy of each interval."""
    at = ctx.lake.commit()
    return series_response(request, ctx, CARBON, ctx.run_key(run_id, datacenter, at), span, output, at)


@router.get("/hosts", response_model=models.Series, summary="One metric of every host over time")
def hosts(
    request: Request, ctx: Ctx, run_id: RunId, span: CoarseSpanQuery, metric: Metric = "cpu_utilization_ratio",
    host_name: Annotated[str | None, Query(max_length=200, description="Only this host.")] = None,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """One row per interval and host."""
    at = ctx.lake.commit()
    run = ctx.run_key(run_id, datacenter, at)
    wanted = chosen_format(request, output)
    key = ("hosts", run, span, metric, host_name, wanted)
    version = ctx.lake.version(run, at)

    def make(_: Body | None) -> Body:
        table = read_hosts(ctx.lake, run, span, metric, host_name, text_time=wanted != "arrow")
        return make_body(
            table, wanted, (key, version), lambda rows: {"data": rows, "metadata": _metadata(run, span, table, "time")}
        )

    return send(request, ctx.bodies.get(key, version, at, make))


@router.get("/heatmap", response_model=models.HeatMap, summary="One metric of every host as a grid")
def heatmap(
    request: Request, ctx: Ctx, run_id: RunId, span: CoarseSpanQuery, metric: Metric = "cpu_utilization_ratio",
    datacenter: DatacenterQuery = None,
) -> Response:  # fmt: skip
    """The same as a grid, ready to draw: times, hosts, and one list of values per host."""
    from opendt.api.encode import JSON, encode

    at = ctx.lake.commit()
    run = ctx.run_key(run_id, datacenter, at)
    key = ("heatmap", run, span, metric)
    version = ctx.lake.version(run, at)

    def make(_: Body | None) -> Body:
        found = read_heatmap(ctx.lake, run, span, metric)
        metadata = {"run_id": run.run_id, "datacenter": run.datacenter, "metric": metric,
                    "interval_seconds": span.interval_s}  # fmt: skip
        return Body.of(encode({**found, "metadata": metadata}), tag_of(key, version), JSON)

    return send(request, ctx.bodies.get(key, version, at, make))


def series_response(
    request: Request, ctx: Context, series: Series, run: RunKey, span: Span, output: Any, at: Commit,
    more: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    """A series in the format asked for, as of a commit; made once per state of the run."""
    wanted = chosen_format(request, output)
    key = (series.time, series.columns, run, span, wanted)
    version = ctx.lake.version(run, at)

    def make(before: Body | None) -> Body:
        table = ctx.series.read(series, run, span, at)
        metadata = _metadata(run, span, table, series.time) | (more or {})
        return make_long_body(table, wanted, (key, version), metadata, before)

    return send(request, ctx.bodies.get(key, version, at, make))


def _metadata(run: RunKey, span: Span, table: pa.Table, time: str) -> dict[str, Any]:
    times = table[time]
    return {
        "run_id": run.run_id,
        "datacenter": run.datacenter,
        "interval_seconds": span.interval_s,
        "count": len(times),
        "start_time": plain(times[0].as_py()) if len(times) else None,
        "end_time": plain(times[-1].as_py()) if len(times) else None,
    }
