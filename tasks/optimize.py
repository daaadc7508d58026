"""Proposals for a better topology."""

from __future__ import annotations

from typing import Any

from opendt.optimize.contest import compare_strategies as _compare_strategies
from opendt.settings import Settings
from opendt.traces import Trace
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
    return _compare_strategies(settings, trace, run_id)
