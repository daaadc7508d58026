"""Signs of life of a flow run that nobody watches, for the server to notice when they stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.events.related import tags_as_related_resources
from prefect.settings import get_current_settings

EVERY_S = 30.0


@contextmanager
def heartbeats(every_s: float = EVERY_S) -> Iterator[None]:
    """Emit Prefect's heartbeat event while the block runs, where Prefect itself is told not to.

    Prefect's own thread sleeps in whole seconds and is waited for, which adds up to a second to every run; this one
    stops at once. Does nothing outside a flow run, or where Prefect's heartbeats are on (runs of deployments).
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or get_current_settings().flows.heartbeat_frequency is not None:
        yield
        return
    resource = {"prefect.resource.id": f"prefect.flow-run.{context.flow_run.id}"}
    related = tags_as_related_resources(set(context.flow_run.tags))
    over = threading.Event()

    def beat() -> None:
        while True:
            emit_event("prefect.flow-run.heartbeat", resource, related=related)
            if over.wait(every_s):
                return

    thread = threading.Thread(target=copy_context().run, args=(beat,), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
