"""One window: simulated, priced, calibrated and committed in one transaction."""

from __future__ import annotations

from opendt.twin.session import TwinSession
from opendt.twin.totals import WindowSummary
from opendt.windows.batch import WindowBatch
from tasks.policy import WINDOW_TIMEOUT_S, step


@step(run_name="{run_id} window {window}", timeout_s=WINDOW_TIMEOUT_S)
def simulate_window(session: TwinSession, batch: WindowBatch, run_id: str, window: int) -> WindowSummary:
    """Process the batch. Either all of it is in the lake afterwards or nothing, so a retry is safe."""
    return session.process(batch)
