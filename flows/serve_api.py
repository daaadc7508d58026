"""The REST API and dashboard, served for as long as the flow run lasts."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows import artifacts
from flows.parameters import ServeApiParameters
from flows.runtime import run_name, say
from tasks.serve import serve_api as serve_step


@flow(name="serve-api", flow_run_name=run_name("serve-api", "lake"), persist_result=False)
def serve_api(params: ServeApiParameters) -> None:
    """Serve the API and the dashboard until the run is cancelled."""
    settings = params.settings()
    address = f"http://{settings.api.host}:{settings.api.port}/"
    artifacts.publish_link("dashboard", address, "Dashboard")
    say("Serving %s until this run is cancelled.", address)
    serve_step(settings, Path(params.config) if params.config else None)
