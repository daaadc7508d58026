"""Windows: simulated, priced, calibrated and committed, each in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from opendt.twin.session import TwinSession
from opendt.twin.totals import WindowSummary
from opendt.windows.batch import WindowBatch
from tasks.policy import WINDOW_TIMEOUT_S, step


@step(run_name="{run_id} {windows}", timeout_s=WINDOW_TIMEOUT_S)
def simulate_windows(
    session: TwinSession, group: Sequence[WindowBatch], done: list[WindowSummary], run_id: str, windows: str
) -> None:
    """Process one window after the other. Each is in the lake whole or not at all; a retry goes on after ``done``."""
    for batch in group[len(done) :]:
        done.append(session.process(batch))  # noqa: PERF401  (what is done has to be there when the next one fails)
