"""Proposals for a better topology."""

from __future__ import annotations

from typing import Any

from opendt.traces import Trace
from opendt.twin.run import proposals_for
from opendt.twin.session import TwinSession
from tasks.policy import LONG_TIMEOUT_S, step


@step(run_name="{run_id} proposals", timeout_s=LONG_TIMEOUT_S)
def propose(session: TwinSession, trace: Trace, run_id: str) -> list[dict[str, Any]]:
    """Proposals at the end of a run, as rows of the lake's table."""
    return proposals_for(session, trace)
