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
    artifacts.publish_markdown("proposals", found["run_id"], proposals_markdown(found))
    say("Best of %s: %s.", ", ".join(row["strategy"] for row in found["strategies"]), found["strategies"][0]["effect"])
    return found


def proposals_markdown(found: dict[str, Any]) -> str:
    """A contest for people: the strategies' numbers, best first, then what each would change and why."""
    rows = [
        f"| {row['strategy']} | {row['energy_kwh']:,.2f} | {row['saving_pct']:.1f} | {row['runtime_h']:.2f} "
        f"| {'yes' if row['meets_slos'] else 'no'} | {row['score']:.4f} |"
        for row in found["strategies"]
    ]
    reasons = [
        f"- **{row['strategy']}**: {_changes(row['changes'])}. {' '.join(row['reasons'])}"
        for row in found["strategies"]
    ]
    return (
        f"## Proposals of {found['run_id']}, best first\n\n"
        "| strategy | energy kWh | saving % | runtime h | meets SLOs | score |\n|---|---|---|---|---|---|\n"
        + "\n".join(rows) + "\n\n" + "\n".join(reasons)
        + f"\n\n{_next_step(found)}\n"
    )  # fmt: skip


def _changes(changes: dict[str, Any]) -> str:
    return ", ".join(f"`{path} = {value}`" for path, value in changes.items()) or "changes nothing"


def _next_step(found: dict[str, Any]) -> str:
    if not found["strategies"][0]["changes"]:
        return "The topology is best kept as it is."
    return f"Decide with `opendt approve {found['recommended']}` or in the dashboard."
