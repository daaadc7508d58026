"""Long-running services."""

from __future__ import annotations

from pathlib import Path

from opendt.settings import Settings
from tasks.policy import step

YEAR_S = 366 * 86_400.0


@step(name="serve API", timeout_s=YEAR_S)
def serve_api(settings: Settings, config: Path | None) -> None:
    """Serve until the process is told to stop. What it says is not logged: it names the token for changes."""
    from opendt.api.serve import serve

    serve(settings, config=config, say=lambda text: None)
