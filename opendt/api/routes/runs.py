"""Runs and what belongs to one: windows, tasks, accuracy, calibrations, dead letters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from opendt.api.context import Context, context, may_read, page
from opendt.api.errors import RESPONSES
from opendt.api.models import JsonObject, Page
from opendt.api.parameters import DatacenterQuery, FormatQuery, Limit, Offset, RunId
from opendt.api.respond import chosen_format, make_body, send, send_json
from opendt.lake.plain import plain_rows
from opendt.lake.queries import RUNS
from opendt.lake.reader import RunKey

router = APIRouter(prefix="/api", tags=["runs"], dependencies=[Depends(may_read)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that belongs to a run: where it comes from and in what order."""

    source: str
    order: str
    columns: str = "*"


WINDOWS = Listing("window_times", "window_index")
ACCURACY = Listing("accuracy", "window_index")
CALIBRATIONS = Listing("calibration_history", "window_index, created, calibration_id")
TRIALS = Listing("calibration_trials", "calibration_id, trial")
TASKS = Listing("tasks", "submitted, task_id")
ENERGY = Listing("energy_by_hour", "hour")
SLO = Listing("slo_compliance", "objective")
LATE = Listing(
    "late_records", "window_index, topic, partition, offset_",
    "* EXCLUDE (payload), make_timestamptz(event_ms * 1000) AS event_time, octet_length(payload) AS payload_bytes",
)  # fmt: skip
DEAD = Listing(
    "dead_letters", "window_index, topic, partition, offset_",
    "* EXCLUDE (payload), hex(payload[:500]) AS payload_hex, make_timestamptz(retried_ms * 1000) AS retried",
)  # fmt: skip


@router.get("/runs", response_model=Page, summary="Runs, newest first")
def list_runs(
    request: Request, ctx: Ctx, limit: Limit = 50, offset: Offset = 0, datacenter: DatacenterQuery = None,
    state: Annotated[str | None, Query(max_length=40, description="running, completed, failed or cancelled.")] = None,
) -> Response:  # fmt: skip
    """Every run with its totals; those of a running one are what its windows have added up so far."""
    where, params = _filters({"datacenter": datacenter, "state": state})
    at = ctx.lake.commit()
    (count,) = ctx.lake.recent(f"SELECT count(*) AS n FROM runs WHERE {where}", tuple(params), tables=("runs",), at=at)
    sql = f"SELECT * FROM ({RUNS}) WHERE {where} ORDER BY started DESC, run_id DESC LIMIT {limit} OFFSET {offset}"
    rows = plain_rows(ctx.lake.recent_table(sql, tuple(params), at=at))
    return send_json(request, page(rows, count["n"], limit, offset))


@router.get("/runs/{run_id}", response_model=JsonObject, summary="One run with its totals and settings")
def get_run(request: Request, ctx: Ctx, run_id: RunId, datacenter: DatacenterQuery = None) -> Response:
    """A run's row with totals, resolved settings, hashes and versions: where its numbers come from."""
    at = ctx.lake.commit()
    run = ctx.run_key(run_id, datacenter, at)
    owner = (run.run_id, run.datacenter)
    sql = f"SELECT * FROM ({RUNS}) WHERE run_id = ? AND datacenter = ?"
    found = plain_rows(ctx.lake.recent_table(sql, owner, at=at))[0]
    more = plain_rows(
        ctx.lake.recent_table(
            "SELECT trace_sha256, config_json::JSON AS config, dropped_json::JSON AS dropped, "
            "stages_json::JSON AS stages, topology_version, window_ms, origin_ms FROM runs "
            "WHERE run_id = ? AND datacenter = ?",
            owner,
            tables=("runs",),
            at=at,
        )
    )[0]
    return send_json(request, found | _decoded(more))


@router.get("/runs/{run_id}/flow-run", response_model=JsonObject, summary="The run in Prefect, if it can be found")
def get_flow_run(request: Request, ctx: Ctx, run_id: RunId, datacenter: DatacenterQuery = None) -> Response:
    """Address, name and state of the flow run that computes a run; a null ``url`` comes with the reason."""
    run = ctx.run_key(run_id, datacenter)
    found = request.app.state.flow_runs.of(run.run_id, request.url.hostname or "127.0.0.1")
    return send_json(request, asdict(found))


@router.get("/runs/{run_id}/windows", response_model=Page, summary="Committed windows")
def list_windows(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 200, offset: Offset = 0,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """What each window brought: tasks, energy, error, late and duplicate records, time spent."""
    return _listing(request, ctx, WINDOWS, ctx.run_key(run_id, datacenter), limit, offset, output)


@router.get("/runs/{run_id}/accuracy", response_model=Page, summary="Error per window beside persistence")
def list_accuracy(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 1_000, offset: Offset = 0,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """How well each window was predicted: MAPE calibrated, uncalibrated and of persistence, bias, band coverage."""
    return _listing(request, ctx, ACCURACY, ctx.run_key(run_id, datacenter), limit, offset, output)


@router.get("/runs/{run_id}/energy", response_model=Page, summary="Energy and emission per hour")
def list_energy(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 1_000, offset: Offset = 0,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Energy simulated and measured, emission, mean and peak power per hour of trace time."""
    return _listing(request, ctx, ENERGY, ctx.run_key(run_id, datacenter), limit, offset, output)


@router.get("/runs/{run_id}/tasks", response_model=Page, summary="Tasks with the times of their lives")
def list_tasks(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 100, offset: Offset = 0,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
    state: Annotated[str | None, Query(max_length=40, description="completed, scheduled, submitted, dropped …")] = None,
    host_name: Annotated[str | None, Query(max_length=200)] = None,
    task_name: Annotated[str | None, Query(max_length=500, description="The task's id in the trace.")] = None,
) -> Response:  # fmt: skip
    """One row per task: when it was submitted, scheduled and ended, where it ran, how long it waited."""
    filters = {"state": state, "host_name": host_name, "task_name": task_name}
    return _listing(request, ctx, TASKS, ctx.run_key(run_id, datacenter), limit, offset, output, filters)


@router.get("/runs/{run_id}/calibrations", response_model=Page, summary="Calibrations of the power model")
def list_calibrations(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 200, offset: Offset = 0,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Parameters chosen over time, on what evidence, and whether they were put in force."""
    return _listing(request, ctx, CALIBRATIONS, ctx.run_key(run_id, datacenter), limit, offset, output)


@router.get("/runs/{run_id}/calibrations/{calibration_id}/trials", response_model=Page, summary="Trials")
def list_trials(
    request: Request, ctx: Ctx, run_id: RunId, calibration_id: str, limit: Limit = 200, offset: Offset = 0,
    datacenter: DatacenterQuery = None, output: FormatQuery = None,
) -> Response:  # fmt: skip
    """Every attempt of one calibration."""
    filters = {"calibration_id": calibration_id}
    return _listing(request, ctx, TRIALS, ctx.run_key(run_id, datacenter), limit, offset, output, filters)


@router.get("/runs/{run_id}/slo", response_model=Page, summary="Targets in force beside what the run reached")
def list_slo_compliance(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 100, offset: Offset = 0,
    datacenter: DatacenterQuery = None,
) -> Response:  # fmt: skip
    """Each objective with target, value, and whether it is met (null while unknown)."""
    return _listing(request, ctx, SLO, ctx.run_key(run_id, datacenter), limit, offset, None)


@router.get("/runs/{run_id}/dead-letters", response_model=Page, summary="Records that could not be understood")
def list_dead_letters(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 100, offset: Offset = 0,
    datacenter: DatacenterQuery = None,
) -> Response:  # fmt: skip
    """Topic, partition, offset, reason and the first bytes of each."""
    return _listing(request, ctx, DEAD, ctx.run_key(run_id, datacenter), limit, offset, None)


@router.get("/runs/{run_id}/late-records", response_model=Page, summary="Records for windows that had closed")
def list_late_records(
    request: Request, ctx: Ctx, run_id: RunId, limit: Limit = 100, offset: Offset = 0,
    datacenter: DatacenterQuery = None,
) -> Response:  # fmt: skip
    """Where each came from, how late it was and what was done with it."""
    return _listing(request, ctx, LATE, ctx.run_key(run_id, datacenter), limit, offset, None)


def _listing(
    request: Request, ctx: Context, listing: Listing, run: RunKey, limit: int, offset: int, output: Any,
    filters: dict[str, Any] | None = None,
) -> Response:  # fmt: skip
    """A list of a run as a page, or as CSV or Arrow; made once per state of the run."""
    wanted = chosen_format(request, output)
    where, params = _filters({"run_id": run.run_id, "datacenter": run.datacenter, **(filters or {})})
    at = ctx.lake.commit()
    version = f"{at.lake}.{at.number}" if listing is SLO else ctx.lake.version(run, at)
    key = (listing.source, tuple(params), where, limit, offset, wanted)

    def make(_: Any) -> Any:
        (count,) = ctx.lake.rows(f"SELECT count(*) AS n FROM {listing.source} WHERE {where}", params)
        table = ctx.lake.query(
            f"SELECT {listing.columns} FROM {listing.source} WHERE {where} "
            f"ORDER BY {listing.order} LIMIT {limit} OFFSET {offset}",
            params,
        )
        return make_body(table, wanted, (key, version), lambda rows: page(rows, count["n"], limit, offset))

    return send(request, ctx.bodies.get(key, version, at, make))


def _filters(values: dict[str, Any]) -> tuple[str, list[Any]]:
    given = {name: value for name, value in values.items() if value is not None}
    return " AND ".join(["true", *(f"{name} = ?" for name in given)]), list(given.values())


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    import orjson

    named = {name: row[name] for name in ("config", "dropped", "stages")}
    return row | {name: None if text is None else orjson.loads(text) for name, text in named.items()}
