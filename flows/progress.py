"""How far a flow is: told to whoever listens in this process and, in a Prefect run, shown as a progress artifact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from uuid import UUID

from prefect.context import FlowRunContext

from flows.showing import show

UPDATE_EVERY_S = 2.0
LAST_UPDATE_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """Progress: ``done`` of ``total`` (0 when unknown), and what is going on in a few words."""

    done: int
    total: int
    text: str


Listener = Callable[[Step], None]
_listener: ContextVar[Listener | None] = ContextVar("opendt_progress", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Flows that run inside the block tell the listener how far they are."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Progress:
    """Tells listener and artifact. An artifact update costs a request, so there is at most one every two seconds.

    Requests are made beside the flow: while the server is slow or out of reach, work goes on, and what it hears next is
    the newest state.
    """

    def __init__(self, total: int, description: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.description = description
        self._clock = clock
        self._updated = clock()
        self._artifact: UUID | None = None
        self._lock = threading.Lock()
        self._wanted_pct: float | None = None
        self._posting = False
        self._poster: threading.Thread | None = None

    def update(self, done: int, text: str) -> None:
        """Say how far it is."""
        listener = _listener.get()
        if listener is not None:
            listener(Step(done, self.total, text))
        now = self._clock()
        if now - self._updated >= UPDATE_EVERY_S:
            self._updated = now
            self._show(done)

    def done(self) -> None:
        """Show the end, if there is anything to show it on; waits a moment for the server."""
        if self._poster is not None:
            self._show(self.total)
            self._poster.join(LAST_UPDATE_S)

    def _show(self, done: int) -> None:
        if FlowRunContext.get() is None or self.total <= 0:
            return
        with self._lock:
            self._wanted_pct = min(100.0, 100.0 * done / self.total)
            if self._posting:
                return
            self._posting = True
        self._poster = threading.Thread(target=copy_context().run, args=(self._post,), name="progress", daemon=True)
        self._poster.start()

    def _post(self) -> None:
        """Make requests until the newest state is shown."""
        while True:
            with self._lock:
                share_pct, self._wanted_pct = self._wanted_pct, None
                if share_pct is None:
                    self._posting = False
                    return
            self._send(share_pct)

    def _send(self, share_pct: float) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        known = self._artifact
        if known is None:
            made = show(
                lambda: create_progress_artifact(share_pct, key="opendt-progress", description=self.description)
            )
            self._artifact = made if isinstance(made, UUID) else None
        else:
            show(lambda: update_progress_artifact(known, progress=share_pct))
