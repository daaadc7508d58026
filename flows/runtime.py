"""How flows run: reported to a Prefect server where one answers, by themselves where none does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.parameters import Parameters
from flows.server import reachable_api
from opendt.settings import PrefectSettings

R = TypeVar("R")
log = logging.getLogger("opendt.flows")


def run(flow: Flow[[Any], R], params: Parameters, settings: PrefectSettings) -> R:
    """Run a flow in this process.

    With a server (PREFECT_API_URL, the profile's, or the one that ``opendt up`` starts) it is a flow run like any
    other. Without one the same function runs plainly: Prefect's own stand-in, a temporary server, would cost ten
    seconds per run and keep little of its history; the lake keeps it anyway.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = reachable_api(settings)
    if url is None:
        return flow.fn(params)
    with temporary_settings({PREFECT_API_URL: url}):
        return flow(params)


def run_name(kind: str, of: str) -> Callable[[], str]:
    """A flow run's name: kind, the value of the parameter ``of``, and the run id."""

    def name() -> str:
        given = flow_run.parameters.get("params") or {}
        value = given.get(of) if isinstance(given, dict) else getattr(given, of, "")
        return f"{kind} {value} {_run_id(given)}".replace("  ", " ").strip()

    return name


def _run_id(given: Any) -> str:
    value = given.get("run_id") if isinstance(given, dict) else getattr(given, "run_id", "")
    return value or default_run_id("run")


def default_run_id(kind: str) -> str:
    """A new run id. Inside a flow run it follows from that run, so that Retry in the UI resumes what it started."""
    from opendt.twin.run import new_run_id

    started = flow_run.id
    return f"{kind}-{started[:13]}" if started else new_run_id(kind)


def say(text: str, *values: Any) -> None:
    """Log a sentence: to the flow run's log inside one, to the program's log elsewhere."""
    logger = get_run_logger() if FlowRunContext.get() is not None else log
    logger.info(text, *values)
