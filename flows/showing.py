"""Showing something in the Prefect UI is never worth losing a run for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect.context import FlowRunContext

R = TypeVar("R")
log = logging.getLogger("opendt.flows")


def show(call: Callable[[], R]) -> R | None:
    """Make a call that shows something of the current flow run; None outside one, or when the server is out of reach.

    The results are in the lake either way, and Prefect's client has tried again already.
    """
    if FlowRunContext.get() is None:
        return None
    try:
        return call()
    except httpx.HTTPError as error:
        log.warning("The Prefect server did not take an artifact (%s); the run goes on.", error)
        return None
