"""Proposals for a better topology."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opendt.lake import Lake
from opendt.optimize.contest import contest_json, hold_contest, new_id, store_contest, wall_clock_ms
from opendt.optimize.slo import slo_in_force
from opendt.optimize.sources import from_run, from_trace
from opendt.settings import Settings
from opendt.store import Store
from opendt.traces import Trace, read_trace
from opendt.twin.run import proposals_for, settle_proposals
from opendt.twin.session import TwinSession
from tasks.policy import LONG_TIMEOUT_S, step


@step(run_name="{run_id} proposals", timeout_s=LONG_TIMEOUT_S)
def propose(session: TwinSession, trace: Trace, run_id: str) -> list[dict[str, Any]]:
    """Proposals at the end of a run, as rows of the lake's table."""
    return proposals_for(session, trace)


@step(run_name="{run_id} decisions")
def settle(session: TwinSession, rows: list[dict[str, Any]], run_id: str) -> list[str]:
    """Follow up earlier proposals and apply the automatic policy to new ones; sentences about what was done."""
    return list(settle_proposals(session, rows).notes)


@step(run_name="{run_id}{trace} strategies", timeout_s=LONG_TIMEOUT_S)
def compare_strategies(settings: Settings, trace: str, run_id: str) -> dict[str, Any]:
    """Hold and store the contest of ``opendt optimize``, on a trace's folder or a run of the lake."""
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
