"""A run from its inputs: open the session, propose at its end. What flows and ``opendt run`` call."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from opendt.engine import get_engine
from opendt.errors import InputError, OpenDTError
from opendt.lake import Lake
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.optimize.closing import Settled, proposals_at_end, settle
from opendt.optimize.slo import SloWatch
from opendt.settings import Settings
from opendt.store import Store, copy_events
from opendt.traces import Trace
from opendt.twin.session import RunIdentity, TwinSession


def new_run_id(kind: str = "run") -> str:
    """A run id that sorts by time and does not collide: ``run-20261120-093000-1f2e``."""
    return f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def topology_of(trace: Trace | None, topology: Topology | None) -> Topology:
    """The topology to simulate: the one given, else the trace's. Raises ``InputError`` when there is neither."""
    found = topology or (trace.topology if trace else None)
    if found is None:
        where = f"{trace.path} has no topology.json" if trace else "there is no trace"
        raise InputError(f"{where}, so there is nothing to simulate on. Give one with --topology FILE.")
    return found


@contextmanager
def open_session(
    settings: Settings,
    run_id: str,
    *,
    trace: Trace | None = None,
    topology: Topology | None = None,
    carbon: CarbonTrace | None = None,
    kind: str = "pipeline",
) -> Iterator[TwinSession]:
    """A session on the lake of the settings; the run is marked failed, with the reason, if the block raises.

    A run id the lake knows is taken up after its last committed window.

    Args:
        trace: the trace that is replayed, None for a live stream.
        topology: instead of the trace's own.
        carbon: instead of the trace's own.
        kind: what to call the run in the lake.
    """
    chosen = topology_of(trace, topology)
    engine = get_engine(settings.engine.name, settings)
    path = str(trace.path.resolve()) if trace else None
    identity = RunIdentity(run_id, kind, trace.name if trace else None, _fingerprint(trace), path)
    with Lake.open(settings.lake) as lake, Store.open(settings) as store:
        session = TwinSession.open(
            settings, lake, engine, identity, chosen, carbon or (trace.carbon if trace else None)
        )
        session.after_window = Objectives(settings, store, lake)
        try:
            yield session
        except BaseException as error:
            _mark(session, error)
            raise


def _fingerprint(trace: Trace | None) -> str | None:
    """One hash over the hashes of a trace's files."""
    if trace is None:
        return None
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(trace.sha256.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _mark(session: TwinSession, error: BaseException) -> None:
    stopped = not isinstance(error, Exception)  # control-C, SIGTERM, cancelled from the UI
    reason = error.message if isinstance(error, OpenDTError) else f"{type(error).__name__}: {error}"
    try:
        session.fail("stopped" if stopped else reason, state="cancelled" if stopped else "failed")
    except OpenDTError as second:
        error.add_note(f"The run could not be marked as failed: {second.message}")


def proposals_for(session: TwinSession, trace: Trace) -> list[dict[str, Any]]:
    """Rows of table ``proposals`` for a replayed trace: each strategy's proposal and no-op, simulated on the trace.

    Priced with the run's calibrated power model. Empty when ``optimize.strategy`` is off.
    """
    session.flush()  # the evidence is in the lake's rows
    with Store.open(session.settings) as store:
        return proposals_at_end(
            session.settings,
            store,
            session.lake,
            session.engine,
            session.memory.topology,
            trace.workload,
            trace.carbon,
            run_id=session.identity.run_id,
            window_index=session.next_index - 1,
        )


def settle_proposals(session: TwinSession, rows: list[dict[str, Any]]) -> Settled:
    """Move proposals on after a run: follow up what was approved, let old ones expire, apply the automatic policy."""
    with Store.open(session.settings) as store:
        return settle(session.settings, store, session.lake, session.identity.run_id, rows)


class Objectives:
    """Keeps the objectives in step with their file, once per window, and enters changes in the lake."""

    def __init__(self, settings: Settings, store: Store, lake: Lake) -> None:
        self._watch, self._store, self._lake = SloWatch(settings, store), store, lake
        self._version: int | None = None

    def __call__(self) -> None:
        """Look again. A file that has become invalid leaves the last good objectives in force."""
        version = self._watch.current().version
        if version != self._version:
            copy_events(self._store, self._lake)
            self._version = version
