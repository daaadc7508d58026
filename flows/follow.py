"""The heart of ``twin`` and ``pipeline``: window after window from the stream into the lake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from prefect.context import FlowRunContext
from prefect.events import emit_event

from flows.events import DRIFT_EVENT
from flows.progress import Progress
from flows.runtime import say
from flows.together import span, together
from opendt.errors import OpenDTError, TransientError
from opendt.models.messages import StreamPosition
from opendt.settings import PrefectSettings
from opendt.twin.session import TwinSession
from opendt.twin.totals import WindowSummary
from opendt.units import iso
from opendt.windows.batch import WindowBatch
from tasks.policy import delays_s, tuned
from tasks.simulate import simulate_windows

WATCH_EVERY_S = 0.2


class Stream(Protocol):
    """An open stream of windows, as ``opendt.stream.source.open_windows`` gives it."""

    def __enter__(self) -> Stream: ...
    def __exit__(self, *_: Any) -> None: ...
    def next_within(self, wait_s: float | None) -> WindowBatch | None: ...
    def stop(self) -> None: ...


class Sender(Protocol):
    """Who fills the stream, where that is ours: ``poll`` raises the error it died of."""

    def poll(self) -> Any: ...


Source = Callable[[StreamPosition | None, int], Stream]


def follow(
    session: TwinSession, source: Source, progress: Progress, settings: PrefectSettings, *, max_windows: int = 0,
    sender: Sender | None = None, halt: threading.Event | None = None, label: str = "",
) -> list[WindowSummary]:  # fmt: skip
    """Process windows until the stream ends, reading on from the last committed one after a transient error.

    Args:
        session: takes the windows; knows the position to read from.
        source: opens the stream at (position, number of the next window).
        progress: told about every window.
        settings: retries and their first delay.
        max_windows: stop after so many; 0 for no limit.
        sender: its failure ends the wait for records that will never come.
        halt: set by another thread, makes this one return after the windows in hand.
        label: what names of task runs begin with, the run id by default.
    """
    halt = halt or threading.Event()
    done: dict[int, WindowSummary] = {}
    count = 0
    delays = delays_s(settings.retries, settings.retry_delay_s)
    simulate = tuned(simulate_windows, settings)
    drifts = len(session.drifts)
    failures = 0
    while not halt.is_set():
        before = count
        try:
            with source(session.position, session.next_index) as stream, _watching(stream, sender, halt):
                for group in together(stream, max_windows - count if max_windows else None):
                    taken: list[WindowSummary] = []
                    try:
                        simulate(session, group, taken, label or session.identity.run_id, span(group))
                    finally:
                        count += len(taken)
                        for summary in taken:
                            done[summary.index] = summary
                            progress.update(summary.index + 1, describe(summary))
                        drifts = _announce(session, drifts)
            if sender is not None:
                sender.poll()
            break
        except TransientError as error:
            failures = 1 if count > before else failures + 1
            if failures > len(delays):
                raise
            say("Reading on from window %d in %.0f s: %s", session.next_index, delays[failures - 1], error.message)
            halt.wait(delays[failures - 1])
    return list(done.values())


@contextmanager
def _watching(stream: Stream, sender: Sender | None, halt: threading.Event) -> Iterator[None]:
    """Stop the stream as soon as its sender has failed, or when told to halt."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_EVERY_S):
            if halt.is_set() or _failed(sender):
                stream.stop()
                return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _failed(sender: Sender | None) -> bool:
    try:
        if sender is not None:
            sender.poll()
    except OpenDTError:
        return True
    return False


def _announce(session: TwinSession, known: int) -> int:
    """Log each new drift and, in a flow run, emit the event that calls the webhook; returns how many are known."""
    found = session.drifts
    for drift in found[known:]:
        text = (
            f"The cluster {session.settings.datacenter} changed: its power is {drift.size_pct:+.1f} % off what it was, "
            f"since {iso(drift.since_ms)}."
        )
        say("%s", text)
        if FlowRunContext.get() is not None:
            emit_event(
                DRIFT_EVENT, {"prefect.resource.id": f"opendt.datacenter.{session.settings.datacenter}"},
                payload={"text": text, **drift.to_dict()},
            )  # fmt: skip
    return len(found)


def describe(window: WindowSummary) -> str:
    """A window in a few words."""
    error = "" if window.mape_pct is None else f", error {window.mape_pct:.1f} %"
    return f"window {window.index}: {window.tasks_running:,} tasks running, {window.energy_kwh:.1f} kWh{error}"
