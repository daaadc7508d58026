"""``opendt optimize``: strategies on one problem at equal budgets, their proposals beside no-op, into the lake."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from opendt.code_version import code_version
from opendt.lake import Lake
from opendt.optimize.decisions import unpacked
from opendt.optimize.objective import pareto_front
from opendt.optimize.outcome import Outcome
from opendt.optimize.proposal import Proposal, to_rows
from opendt.optimize.slo import slo_in_force
from opendt.optimize.sources import Source, from_run, from_trace
from opendt.optimize.strategies import Attempted, idle, run_strategy
from opendt.optimize.trials import Problem, Trial
from opendt.optimize.whatif import baseline_row, workload_row
from opendt.settings import LlmSettings, Settings
from opendt.store import Store
from opendt.traces import read_trace

TRIALS_STORED = 500


@dataclass(frozen=True, slots=True)
class Contest:
    """What strategies came up with on one problem, no-op last."""

    problem: Problem
    attempted: tuple[Attempted, ...]
    no_op: Proposal
    wall_s: float

    @property
    def proposals(self) -> list[Proposal]:
        """Every proposal, with its trials in the details; no-op last."""
        return [_with_trials(a) for a in self.attempted] + [self.no_op]

    def standing(self) -> list[dict[str, Any]]:
        """One row per strategy, best first: score, effect, objectives, simulations, time, cost."""
        rows = [_standing(proposal) for proposal in self.proposals]
        return sorted(rows, key=lambda row: (not row["meets_slos"], row["score"], row["energy_kwh"]))

    def pareto(self) -> list[dict[str, Any]]:
        """The variants no other one beats in both energy and runtime, over everything tried."""
        tried = {
            orjson.dumps([t.changes, t.allocation]): (t.simulated.outcome, t)
            for a in self.attempted
            for t in a.trials.tried
            if t.simulated is not None
        }
        outcomes: list[Outcome] = [outcome for outcome, _ in tried.values()]
        trials: list[Trial] = [trial for _, trial in tried.values()]
        return [
            {"changes": trials[i].changes, "energy_kwh": outcomes[i].energy_kwh, "runtime_h": outcomes[i].runtime_h}
            for i in pareto_front(outcomes)
        ]


def compare_strategies(settings: Settings, trace: str = "", run_id: str = "") -> dict[str, Any]:
    """Hold and store the configured contest on a trace's folder or a run of the lake; the story as plain values.

    Objectives are those in force; with the strategy ``off`` the rules are asked.

    Raises ``InputError`` when there is no such trace or run.
    """
    started_ms = wall_clock_ms()
    with Store.open(settings, read_only=True) as store:
        slo = slo_in_force(settings, store).slo
    with Lake.open(settings.lake) as lake:
        source = from_run(settings, lake, run_id, slo) if run_id else from_trace(settings, read_trace(Path(trace)), slo)
        name = settings.optimize.strategy if settings.optimize.strategy != "off" else "rules"
        contest = hold_contest(source.problem, name, settings.optimize.budget, settings.llm)
        own_id = source.run_id or new_id()
        rows = store_contest(settings, lake, source, contest, own_id, started_ms, wall_clock_ms())
    return contest_json(contest, rows, own_id, name, settings.optimize.budget)


def hold_contest(problem: Problem, strategy: str, budget: int, llm: LlmSettings | None = None) -> Contest:
    """Run one strategy, or each for ``tournament``, with the same number of simulations.

    Raises ``InputError`` for an unknown strategy.
    """
    started = time.monotonic()
    attempted = tuple(run_strategy(strategy, problem, budget, llm))
    return Contest(problem, attempted, idle(problem), time.monotonic() - started)


def store_contest(
    settings: Settings, lake: Lake, source: Source, contest: Contest, run_id: str, started_ms: int, ended_ms: int
) -> list[dict[str, Any]]:
    """Write proposals, the topology they change and, for a question of its own, the run; returns the proposals' rows.

    Proposals about a run are stored under that run.
    """
    topology = contest.problem.topology
    owner = source.run_id or run_id
    rows = to_rows(
        contest.proposals, run_id=owner, datacenter=settings.datacenter, window_index=source.window_index,
        created_ms=ended_ms,
    )  # fmt: skip
    if source.run_id is None:
        engine = contest.problem.evaluator.engine
        outcome = contest.problem.baseline.outcome
        lake.start_run(
            run_id, settings.datacenter, "optimize", trace=source.trace.name, engine=engine.name,
            engine_version=engine.version, code_version=code_version(), topology_version=topology.version,
            config_json=orjson.dumps(settings.public()).decode(), started_ms=started_ms,
        )  # fmt: skip
        lake.finish_run(
            run_id, settings.datacenter, "completed", energy_kwh=outcome.energy_kwh, carbon_kg=outcome.carbon_kg,
            tasks_run=outcome.tasks_completed, wall_s=contest.wall_s,
        )  # fmt: skip
    lake.upsert(
        "topologies",
        [
            {
                "datacenter": settings.datacenter, "version": topology.version,
                "topology_json": topology.to_json().decode(), "source": "trace", "run_id": owner,
                "created_ms": started_ms,
            }
        ],
    )  # fmt: skip
    lake.upsert("proposals", rows)
    return rows


def contest_json(
    contest: Contest, rows: list[dict[str, Any]], run_id: str, strategy: str, budget: int
) -> dict[str, Any]:
    """The whole story as plain values: what ``--json`` and the API give."""
    by_strategy = {row["strategy"]: row["proposal_id"] for row in rows}
    standing = [row | {"proposal_id": by_strategy.get(row["proposed_by"])} for row in contest.standing()]
    best = standing[0]
    return {
        "run_id": run_id,
        "strategy": strategy,
        "budget": budget,
        "slo": contest.problem.targets.model_dump(mode="json"),
        "workload": workload_row(contest.problem),
        "baseline": baseline_row(contest.problem),
        "strategies": standing,
        "recommended": best["proposal_id"],
        "pareto": contest.pareto(),
        "proposals": [unpacked(row) for row in rows],
        "wall_s": contest.wall_s,
    }


def _standing(proposal: Proposal) -> dict[str, Any]:
    evaluation = proposal.evaluation
    assert evaluation is not None  # a contest simulates everything
    asked = "llm" if "llm" in proposal.details or proposal.fallback_reason else proposal.strategy
    return {
        "strategy": asked,
        "proposed_by": proposal.strategy,
        "score": evaluation.score,
        "energy_kwh": evaluation.outcome.energy_kwh,
        "saving_pct": 100.0 * evaluation.saving_kwh / evaluation.baseline.energy_kwh,
        "runtime_h": evaluation.outcome.runtime_h,
        "meets_slos": evaluation.meets_slos,
        "effect": evaluation.in_words(),
        "changes": proposal.changes,
        "reasons": list(proposal.reasons),
        "fallback_reason": proposal.fallback_reason,
        "simulations": proposal.simulations,
        "duration_s": proposal.duration_s,
        "cost_usd": proposal.details.get("llm", {}).get("cost_usd", 0.0),
    }


def _with_trials(attempted: Attempted) -> Proposal:
    proposal = attempted.proposal
    stored = [_trial_row(trial) for trial in attempted.trials.tried[:TRIALS_STORED]]
    return proposal.but(details=proposal.details | {"trials": stored})


def _trial_row(trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = {"changes": trial.changes}
    if trial.allocation is not None:
        row["allocation"] = trial.allocation
    if trial.simulated is None:
        return row | {"reason": trial.reason}
    outcome = trial.simulated.outcome
    return row | {
        "energy_kwh": outcome.energy_kwh, "runtime_h": outcome.runtime_h, "peak_power_kw": outcome.peak_power_kw,
        "queue_delay_s": outcome.queue_delay_s, "tasks_lost": outcome.tasks_lost,
    }  # fmt: skip


def new_id() -> str:
    """A run id for a question of its own; sorts by time."""
    return f"optimize-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def wall_clock_ms() -> int:
    """Epoch time now [ms]."""
    return time.time_ns() // 1_000_000
