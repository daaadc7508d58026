"""How flows run: reported to a Prefect server where one answers, by themselves where none does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.events import TAG
from flows.parameters import Parameters, RunParameters
from flows.server import reachable_api, require_api
from opendt.errors import InputError, TransientError
from opendt.settings import PrefectSettings
from opendt.twin.run import new_run_id
from opendt.twin.session import wall_clock_ms
from opendt.units import datetime_to_ms

R = TypeVar("R")
log = logging.getLogger("opendt.flows")


def run_flow(flow: Flow[[Any], R], params: Parameters, settings: PrefectSettings) -> R:
    """Run a flow in this process.

    With a server (PREFECT_API_URL, the profile's, or the one that ``opendt up`` starts) it is a flow run like any
    other. Without one the same function runs plainly: Prefect's own stand-in, a temporary server, would cost ten
    seconds per run and keep little of its history; the lake keeps it anyway.

    Raises ``TransientError`` when a server that was there stays away while the run ends.
    """
    from prefect import tags
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    url = reachable_api(settings)
    if url is None:
        return flow.fn(params)
    # Long flows send their own heartbeats (flows/heartbeat.py).
    with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), tags(TAG):
        try:
            return flow(params)
        except httpx.HTTPError as error:
            raise TransientError(
                f"the Prefect server at {url} went away and did not come back ({error}). What was done is in the lake; "
                "start it again with the same run id.",
                url=url,
            ) from error


def run_remote(
    deployment: str, params: RunParameters, settings: PrefectSettings, *, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Start a deployment, wait for its end, and tell what became of it.

    Args:
        deployment: ``flow/deployment``.
        params: stronger than what the deployment's form starts with (``opendt up --lake``); paths are made absolute, a
            run id is chosen where there is none.
        settings: where the server is, unless PREFECT_API_URL says.
        say: told the address to watch the run at.

    Returns:
        ``run_id``, ``state``, ``message``, ``flow_run_id``, ``url`` and ``lake``, null for the one configured there.

    Raises:
        TransientError: no server answers.
        InputError: the server does not know the deployment, or refuses the parameters.
    """
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.utilities.urls import url_for

    url = require_api(settings)
    absolute = {
        name: str(Path(value).resolve())
        for name in ("trace", "topology", "config", "lake")
        if (value := getattr(params, name, ""))
    }
    sent = params.model_copy(update=absolute | {"run_id": params.run_id or new_run_id("run")})
    with temporary_settings({PREFECT_API_URL: url}):
        try:
            values = _over_form(deployment, sent)
            started = run_deployment(deployment, parameters={"params": values}, timeout=0, as_subflow=False)
        except ObjectNotFound:
            raise InputError(
                f"the Prefect server at {url} knows no deployment {deployment}. Start `opendt up`, or register the "
                "deployments with `opendt deploy`."
            ) from None
        except PrefectHTTPStatusError as error:
            raise InputError(f"the Prefect server refused the parameters: {error}.") from None
        assert isinstance(started, FlowRun)  # a coroutine only inside another flow
        address = url_for(started) or ""
        say(f"Started, watch it at {address}" + (f"; results go to {values['lake']}" if values.get("lake") else ""))
        ended = _wait(started.id)
    state = ended.state
    return {
        "run_id": sent.run_id,
        "state": state.name if state else "Unknown",
        "message": (state.message if state else None) or "",
        "flow_run_id": str(ended.id),
        "url": address,
        "lake": values.get("lake") or None,
    }


def _over_form(deployment: str, params: RunParameters) -> dict[str, Any]:
    """Parameters over those the deployment's form starts with; Prefect itself would replace the form as a whole."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        form: dict[str, Any] = client.read_deployment_by_name(deployment).parameters.get("params") or {}
    given = params.model_dump(mode="json", exclude_defaults=True)
    overrides = form.get("overrides", {}) | given.get("overrides", {})
    return form | given | ({"overrides": overrides} if overrides else {})


def _wait(flow_run_id: UUID) -> FlowRun:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        while True:
            found = client.read_flow_run(flow_run_id)
            if found.state is not None and found.state.is_final():
                return found
            time.sleep(1.0)


# Flows that enter a run in the lake, and what its id begins with unless it is given.
_OWN_RUN = {"pipeline": "run", "twin": "twin", "calibrate": "calibrate", "nightly": "nightly"}


def run_name(kind: str, of: str) -> Callable[[], str]:
    """A flow run's name: kind, the parameter ``of`` (of a path the last part), and the id of its run in the lake."""

    def name() -> str:
        given = flow_run.parameters.get("params") or {}
        subject = Path(_given(given, of)).name
        run_id = _given(given, "run_id") or (default_run_id(_OWN_RUN[kind]) if kind in _OWN_RUN else "")
        first = "" if run_id.startswith(f"{kind}-") else kind
        return " ".join(dict.fromkeys(part for part in (first, subject, run_id) if part))

    return name


def _given(params: Any, name: str) -> str:
    value = params.get(name) if isinstance(params, dict) else getattr(params, name, "")
    return value or ""


def default_run_id(kind: str) -> str:
    """A new run id. Inside a flow run it follows from that run, so that Retry in the UI resumes what it started."""
    started = flow_run.id
    return flow_run_id_as_run_id(kind, started) if started else new_run_id(kind)


def flow_run_id_as_run_id(kind: str, flow_run_id: str) -> str:
    """The run id of a flow run that was given none."""
    return f"{kind}-{flow_run_id[:13]}"


def begun_ms() -> int:
    """When the flow run was created, whatever attempt this is; now, outside one [epoch ms]."""
    context = FlowRunContext.get()
    created = context.flow_run.created if context is not None and context.flow_run is not None else None
    return wall_clock_ms() if created is None else datetime_to_ms(created)


def say(text: str, *values: Any) -> None:
    """Log a sentence: to the flow run's log inside one, to the program's log elsewhere."""
    _logger().info(text, *values)


def warn(text: str, *values: Any) -> None:
    """The same for what somebody should look at; shown on stderr too."""
    _logger().warning(text, *values)


def _logger() -> Any:
    return get_run_logger() if FlowRunContext.get() is not None else log
