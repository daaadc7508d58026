"""Several twins of one run share its datacenters: each is followed by one of them, and changes hands cleanly.

State, checkpoints and rows are kept per datacenter, so a datacenter is what can be handed over. Its holder commits the
window in hand and lets go; the next one goes on from what the lake has committed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect.context import FlowRunContext

from flows.follow import follow
from flows.progress import Progress
from flows.runtime import say
from opendt.errors import OpenDTError, TransientError
from opendt.lake import Lake
from opendt.models.topology import Topology
from opendt.settings import Settings
from opendt.stream.lease import Leases
from opendt.stream.source import open_windows
from opendt.twin.run import open_session
from opendt.twin.session import TwinSession, wall_clock_ms
from opendt.twin.totals import RunSummary
from tasks.lake import finish_run
from tasks.optimize import settle

_SERVE_S = 0.2
_LOOK_EVERY_S = 2.0


@dataclass
class _Follower:
    """One datacenter held by this process."""

    name: str
    thread: threading.Thread | None = None
    halt: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False

    @property
    def at_work(self) -> bool:
        """Whether its thread runs."""
        return self.thread is not None and self.thread.is_alive()

    def join(self) -> None:
        """Wait for the end of its thread."""
        if self.thread is not None:
            self.thread.join()


class Worker:
    """One of several processes that follow the datacenters of a run.

    Args:
        settings: as for a single twin; the datacenter in them is not used.
        lake: their lake.
        run_id: the run, the same for every worker.
        topologies: of each datacenter, the same datacenters for every worker.
    """

    def __init__(self, settings: Settings, lake: Lake, run_id: str, topologies: Mapping[str, Topology]) -> None:
        self._settings, self._lake, self._run_id, self._topologies = settings, lake, run_id, topologies
        self._started_ms = wall_clock_ms()
        self._followers: dict[str, _Follower] = {}
        self._completed: dict[str, RunSummary] = {}
        self._failed: dict[str, OpenDTError] = {}
        self._broken: BaseException | None = None
        self._next_look = 0.0

    def run(self, stop: threading.Event) -> list[RunSummary]:
        """Follow what is assigned to this process until every datacenter's stream has ended, or ``stop`` is set.

        Returns:
            Totals of the datacenters that ended here.

        Raises:
            OpenDTError: what a datacenter failed with. After a terminal one the others go on first; after a transient
                one they are handed over at once, so that the process can be started again.
        """
        leases = Leases(
            self._settings.stream, self._run_id, list(self._topologies),
            on_gained=self._take_up, on_given_up=self._let_go, on_lost=self._let_go,
        )  # fmt: skip
        with leases:
            try:
                while not stop.is_set() and self._broken is None and not self._all_ended():
                    leases.serve(_SERVE_S)
            finally:
                self._let_go(list(self._followers), cancelled=stop.is_set())
        if self._broken is not None:
            raise self._broken
        if self._failed and not stop.is_set():
            raise next(iter(self._failed.values()))
        return list(self._completed.values())

    def _take_up(self, names: list[str]) -> None:
        states = self._states()
        for name in names:
            if states.get(name, ("", 0))[0] == "completed":
                continue
            self._failed.pop(name, None)  # perhaps mended since
            follower = self._followers[name] = _Follower(name)
            work = (self._guarded, follower)
            follower.thread = threading.Thread(target=copy_context().run, args=work, name=name, daemon=True)
            follower.thread.start()

    def _let_go(self, names: list[str], *, cancelled: bool = False) -> None:
        """Have each datacenter's window in hand committed, and wait for that."""
        mine = [self._followers[name] for name in names if name in self._followers]
        for follower in mine:
            follower.cancelled = cancelled
            follower.halt.set()
        for follower in mine:
            follower.join()
        for name in names:
            self._followers.pop(name, None)

    def _guarded(self, follower: _Follower) -> None:
        name = follower.name
        try:
            self._follow(name, follower)
        except TransientError as error:
            self._broken = error
        except OpenDTError as error:
            say("%s is given up: %s", name, error.message)
            self._failed[name] = error
        except BaseException as error:  # a fault of ours: raised in the main thread
            self._broken = error

    def _follow(self, name: str, follower: _Follower) -> None:
        settings, label = self._settings.model_copy(update={"datacenter": name}), f"{self._run_id} {name}"
        source = partial(open_windows, settings.stream, settings.windows, name, None)
        with open_session(settings, self._run_id, topology=self._topologies[name], kind="twin") as session:
            say("%s: following from window %d on.", name, session.next_index)
            follow(session, source, Progress(0, name), settings.prefect, halt=follower.halt, label=label)
            if _ended(session):
                self._completed[name] = finish_run(session, [], label)
                for note in settle(session, [], label):
                    say("%s.", note)
                say("%s: completed, %d windows.", name, session.next_index)
            elif follower.cancelled:
                session.fail("stopped", state="cancelled")
            else:
                session.hand_over()
                say("%s: handed over before window %d.", name, session.next_index)

    def _all_ended(self) -> bool:
        """Whether nothing is left to do for any worker; looked up from time to time."""
        if any(follower.at_work for follower in self._followers.values()):
            return False
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_EVERY_S
        states = self._states()
        return all(self._has_ended(*states.get(name, ("", 0))) for name in self._topologies)

    def _has_ended(self, state: str, ended_ms: int) -> bool:
        return state == "completed" or (state == "failed" and ended_ms >= self._started_ms)

    def _states(self) -> dict[str, tuple[str, int]]:
        """State of each datacenter's run in the lake, and when it ended [epoch ms]."""
        rows = self._lake.rows("SELECT datacenter, state, ended_ms FROM runs WHERE run_id = ?", [self._run_id])
        return {row["datacenter"]: (row["state"], row["ended_ms"] or 0) for row in rows}


def _ended(session: TwinSession) -> bool:
    return session.position is not None and session.position.ended


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Control-C set; where a Prefect run or another thread has signals, only the event."""
    stop = threading.Event()
    if FlowRunContext.get() is not None or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def set_stop(*_: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, set_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
