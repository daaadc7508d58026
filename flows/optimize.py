"""Look for a better topology, compare at equal budgets, leave the decision to people."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import artifacts
from flows.parameters import OptimizeParameters
from flows.runtime import run_name, say
from opendt.errors import InputError
from tasks.optimize import compare_strategies


@flow(name="optimize", flow_run_name=run_name("optimize", "trace"), persist_result=False)
def optimize(params: OptimizeParameters) -> dict[str, Any]:
    """Propose topologies for a trace or a run of the lake; every proposal is simulated beside no-op and stored."""
    if bool(params.trace) == bool(params.run_id):
        raise InputError("give either a trace or a run id to optimize for.")
    settings = params.settings()
    found = compare_strategies(settings, params.trace, params.run_id)
    artifacts.publish_table("proposals", found["run_id"], "Strategies, best first.", strategy_rows(found))
    say("Best of %s: %s.", ", ".join(row["strategy"] for row in found["strategies"]), found["strategies"][0]["effect"])
    return found


def strategy_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A contest as rows of a table."""
    return [
        {
            "strategy": row["strategy"],
            "score": round(row["score"], 4),
            "energy kWh": round(row["energy_kwh"], 2),
            "saving %": round(row["saving_pct"], 2),
            "runtime h": round(row["runtime_h"], 2),
            "meets SLOs": "yes" if row["meets_slos"] else "no",
            "changes": ", ".join(f"{path} = {value}" for path, value in row["changes"].items()) or "none",
            "why": " ".join(row["reasons"]),
        }
        for row in found["strategies"]
    ]
