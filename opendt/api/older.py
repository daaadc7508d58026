"""What the two older systems showed, worked out from the lake and the store."""

from __future__ import annotations

from typing import Any

import orjson

from opendt.api.context import Context
from opendt.api.errors import NotFoundError
from opendt.lake.connection import NoLakeError
from opendt.lake.reader import RunKey
from opendt.optimize.slo import slo_in_force
from opendt.units import iso


def latest_run(ctx: Context) -> RunKey | None:
    """What ``latest`` names, or None before the first run."""
    try:
        return ctx.run_key("latest")
    except (NotFoundError, NoLakeError):
        return None


def topology_state(ctx: Context) -> dict[str, Any]:
    """``current_topology``, ``best_config`` and ``topology_updates``."""
    with ctx.store() as store:
        history = store.topology_history(ctx.settings.datacenter, limit=10_000)
    current = orjson.loads(history[0].topology.to_json()) if history else _topology_of(ctx, latest_run(ctx))
    return {
        "current_topology": current,
        "best_config": _best_config(best_proposal(ctx)),
        "topology_updates": max(0, len(history) - 1),
    }


def best_proposal(ctx: Context) -> dict[str, Any] | None:
    """The pending proposal with the lowest score that changes anything, or None."""
    try:
        found = ctx.lake.recent(
            "SELECT * FROM proposals WHERE datacenter = ? AND state = 'pending' AND changes_json <> '{}' "
            "AND topology_json IS NOT NULL ORDER BY score NULLS LAST, created_ms DESC, proposal_id LIMIT 1",
            (ctx.settings.datacenter,),
        )
    except NoLakeError:
        return None
    return found[0] if found else None


def status(ctx: Context) -> dict[str, Any]:
    """The state of the whole system in the older API's words, for the run started last."""
    run = latest_run(ctx)
    state = topology_state(ctx)
    proposal = best_proposal(ctx)
    window = _last_window(ctx, run)
    with ctx.store() as store:
        slo = slo_in_force(ctx.settings, store).slo
    totals = _totals(ctx, run)
    return {
        "status": _status(ctx, totals),
        "run_id": run.run_id if run else None,
        "datacenter": run.datacenter if run else ctx.settings.datacenter,
        "cycle_count": totals.get("windows", 0),
        "cycle_count_opt": totals.get("proposals", 0),
        "last_simulation": _simulation(window),
        "last_optimization": _optimization(proposal),
        "total_tasks": totals.get("tasks_seen") or 0,
        "total_fragments": totals.get("fragments") or 0,
        "current_window": f"{iso(window['start_ms'])} to {iso(window['end_ms'])}" if window else None,
        **state,
        "slo_targets": {"energy_target": slo.energy_kwh, "runtime_target": slo.runtime_h},
        "window_baseline_score": proposal and proposal["baseline_score"],
        "window_best_score": proposal and proposal["score"],
        "window_trials": proposal["simulations"] or 0 if proposal else 0,
        "window_accepted": False,
        "window_time_used_sec": proposal["duration_s"] or 0.0 if proposal else 0.0,
    }


def timeseries(ctx: Context, run: RunKey | None) -> dict[str, list[Any]]:
    """Utilisation (0 to 1) and energy [kWh] per window, and the windows' ends."""
    if run is None:
        return {"cpu_usages": [], "power_usages": [], "timestamps": []}
    rows = ctx.lake.recent(
        """SELECT avg(p.utilization_ratio) AS cpu, any_value(w.energy_j) / 3.6e6 AS energy_kwh, w.end_ms
        FROM windows w LEFT JOIN power_samples p USING (run_id, datacenter, window_index)
        WHERE w.run_id = ? AND w.datacenter = ? GROUP BY w.window_index, w.end_ms ORDER BY w.window_index""",
        (run.run_id, run.datacenter),
    )
    return {
        "cpu_usages": [row["cpu"] for row in rows],
        "power_usages": [row["energy_kwh"] for row in rows],
        "timestamps": [iso(row["end_ms"]) for row in rows],
    }


def _status(ctx: Context, totals: dict[str, Any]) -> str:
    own = ctx.launcher.state
    if own != "stopped":
        return own
    return {"running": "running", "failed": "error"}.get(str(totals.get("state")), "stopped")


def _totals(ctx: Context, run: RunKey | None) -> dict[str, Any]:
    if run is None:
        return {}
    (row,) = ctx.lake.recent(
        """SELECT runs.state, coalesce(totals.windows, 0) AS windows, totals.tasks_seen, totals.fragments,
               (SELECT count(*) FROM proposals AS p
                WHERE p.run_id = runs.run_id AND p.datacenter = runs.datacenter) AS proposals
        FROM runs LEFT JOIN run_totals AS totals USING (run_id, datacenter) WHERE run_id = ? AND datacenter = ?""",
        (run.run_id, run.datacenter),
    )
    return row


def _last_window(ctx: Context, run: RunKey | None) -> dict[str, Any] | None:
    if run is None:
        return None
    found = ctx.lake.recent(
        """SELECT w.start_ms, w.end_ms, w.energy_j / 3.6e6 AS energy_kwh,
               (w.end_ms - w.start_ms) / 3.6e6 AS runtime_hours,
               avg(p.utilization_ratio) AS cpu_utilization, max(p.simulated_w) AS max_power_draw
        FROM windows w LEFT JOIN power_samples p USING (run_id, datacenter, window_index)
        WHERE w.run_id = ? AND w.datacenter = ? GROUP BY ALL ORDER BY w.start_ms DESC LIMIT 1""",
        (run.run_id, run.datacenter),
    )
    return found[0] if found else None


def _simulation(window: dict[str, Any] | None) -> dict[str, Any] | None:
    names = ("energy_kwh", "runtime_hours", "cpu_utilization", "max_power_draw")
    return {name: window[name] for name in names} if window else None


def _optimization(proposal: dict[str, Any] | None) -> dict[str, Any] | None:
    if proposal is None:
        return None
    peak = proposal["peak_power_kw"]
    return {
        "type": proposal["strategy"],
        "reason": "; ".join(orjson.loads(proposal["reasons_json"] or "[]")),
        "new_topology": orjson.loads(proposal["topology_json"]),
        "energy_kwh": proposal["energy_kwh"],
        "runtime_hours": proposal["runtime_h"],
        "max_power_draw": None if peak is None else peak * 1_000,
        "proposal_id": proposal["proposal_id"],
    }


def _best_config(proposal: dict[str, Any] | None) -> dict[str, Any] | None:
    if proposal is None:
        return None
    return {
        "config": orjson.loads(proposal["topology_json"]),
        "score": proposal["score"],
        "proposal_id": proposal["proposal_id"],
    }


def _topology_of(ctx: Context, run: RunKey | None) -> Any:
    """The topology a run used last, where nobody has put one in force by hand."""
    if run is None:
        return None
    found = ctx.lake.recent(
        """SELECT topology_json FROM topologies JOIN runs USING (datacenter)
        WHERE runs.run_id = ? AND datacenter = ? AND topologies.topology_json IS NOT NULL
        ORDER BY (topologies.run_id = runs.run_id) DESC NULLS LAST, topologies.created_ms DESC LIMIT 1""",
        (run.run_id, run.datacenter),
    )
    return orjson.loads(found[0]["topology_json"]) if found else None
