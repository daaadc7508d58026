"""Showing something in the Prefect UI is never worth losing a run for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect.context import FlowRunContext

R = TypeVar("R")
log = logging.getLogger("opendt.flows")

# Prefect's client waits minutes for a server to come back. Once is enough: the next thing to show would wait again.
PAUSE_S = 60.0
_lost_at: list[float] = []


def show(call: Callable[[], R]) -> R | None:
    """Make a call that shows something of the current flow run; None outside one, or when the server is out of reach.

    The results are in the lake either way, and Prefect's client has tried again already.
    """
    if FlowRunContext.get() is None or (_lost_at and time.monotonic() - _lost_at[-1] < PAUSE_S):
        return None
    try:
        return call()
    except httpx.HTTPError as error:
        _lost_at[:] = [time.monotonic()]
        log.warning("The Prefect server did not take an artifact (%s); the run goes on.", error)
        return None
