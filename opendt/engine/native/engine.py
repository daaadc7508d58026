"""The native engine: OpenDC's semantics on arrays, window by window."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from opendt.engine.base import EngineOptions, EngineState, SimulationResult
from opendt.engine.native import demand, kernels, stuck, world
from opendt.engine.native.collect import Rows, nothing, result_of
from opendt.engine.native.compiled import is_ready
from opendt.engine.native.exact import engine as exact
from opendt.engine.native.exact.engine import ExactState
from opendt.engine.native.exact.failures import new_failures
from opendt.engine.native.exact.scheduler import new_scheduler
from opendt.engine.native.fidelity import reason_for_exact
from opendt.engine.native.layout import site_of
from opendt.engine.native.session import Session, close_session, fresh_arrays, new_output, open_session
from opendt.engine.native.state import NativeState, state_from_bytes
from opendt.engine.native.topology_change import change_topology, drop_empty_hosts
from opendt.errors import ConfigError, EngineError
from opendt.models.telemetry import CarbonTrace, no_carbon
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Workload, empty_workload, make_tasks

State = NativeState | ExactState
COMPILING = "compiling kernels of the native engine, about 20 s, once per installation"
_SMALL_HOST = {"cpu": {"coreCount": 2, "coreSpeed": 1.0}, "memory": {"memorySize": 1}}
log = logging.getLogger(__name__)


class NativeEngine:
    """Simulates with compiled kernels; see ``opendt.engine.base.Engine`` for the contract.

    Args:
        progress: called with a sentence before something slow happens (compiling kernels on first use); without it
            the sentence is logged as a warning.
    """

    name = "native"
    version = "1"

    def __init__(self, progress: Callable[[str], None] | None = None) -> None:
        self.progress = progress or log.warning

    def start(self, topology: Topology, options: EngineOptions, carbon: CarbonTrace | None = None) -> State:
        """A state before the first task.

        Raises ``TopologyError`` or ``ConfigError`` for what this engine cannot simulate.
        """
        _check(options)
        if reason_for_exact(topology, options) is not None:
            new_scheduler([], options.allocation, options.seed, None)
            new_failures(options.failures, options.seed)
            return ExactState(topology, options, carbon or no_carbon(), None, None, None)
        site = site_of(topology)
        state = NativeState(
            topology=topology,
            options=options,
            carbon=carbon or no_carbon(),
            origin_ms=None,
            until_ms=None,
            names=(),
            host_names=site.host_names,
            arrays={},
            site=site,
        )
        return replace(state, arrays=fresh_arrays(state))

    def advance(self, state: EngineState, arrived: Workload, until_ms: int | None) -> tuple[State, SimulationResult]:
        """Simulate up to ``until_ms`` (epoch ms, exclusive; None = to the end) with newly arrived work.

        Tasks whose submission lies before the state's time are submitted at that time. Raises ``EngineError`` when a
        running task needs a fragment that has not arrived, when a task id is live twice, and when tasks wait for what
        can never happen.
        """
        state = _own(state)
        if state.origin_ms is None:
            runnable = arrived.tasks.submission_ms[arrived.tasks.fragment_count > 0]
            if len(runnable) == 0:
                return state, nothing(state.options)
            state = replace(state, origin_ms=int(runnable.min()))
        assert state.origin_ms is not None
        begin = state.origin_ms if state.until_ms is None else state.until_ms
        if until_ms is not None and until_ms < begin:
            raise EngineError(
                f"cannot simulate until {until_ms} ms: the state is already at {begin} ms.",
                engine=self.name, reason="time runs backwards", until_ms=until_ms, now_ms=begin,
            )  # fmt: skip
        if isinstance(state, ExactState):
            return exact.advance(state, arrived, until_ms)
        session = open_session(state, arrived, until_ms)
        if until_ms is None and not _anything_left(session):
            return state, nothing(state.options)
        rows = self._run(state, session, until_ms)
        end = until_ms if until_ms is not None else state.origin_ms + int(session.clock[world.NOW])
        result = result_of(state, session, rows, end)
        return drop_empty_hosts(close_session(state, session, end)), result

    def with_topology(self, state: EngineState, topology: Topology) -> State:
        """The state under another topology; see ``topology_change.change_topology``."""
        own = _own(state)
        if isinstance(own, ExactState):
            return exact.with_topology(own, topology)
        return change_topology(own, topology)

    def prepare(self) -> None:
        """Compile what is not compiled yet, so that no later call is slow; at once when there is nothing to do."""
        if is_ready(kernels.run):
            return
        site = parse_topology({"clusters": [{"hosts": [_SMALL_HOST]}]})
        options = EngineOptions(sample_interval_ms=1000, host_every=1, task_rows=True)
        ids, at = np.arange(2), np.array([0, 500])
        tasks = make_tasks(ids, at, fragment_count=np.array([2, 1]), has_cpu_usage=np.ones(2, np.bool_))
        fragments = Fragments(np.array([0, 1, 0]), np.full(3, 2000), np.full(3, 1.0), np.zeros(3))
        state, _ = self.advance(self.start(site, options), Workload(tasks, fragments), 1500)
        self.advance(self.with_topology(state, site), empty_workload(), None)

    def state_from_bytes(self, data: bytes) -> State:
        """Inverse of ``NativeState.to_bytes``."""
        return exact.state_from_bytes(data) if data.startswith(exact.MAGIC) else state_from_bytes(data)

    def _run(self, state: NativeState, session: Session, until_ms: int | None) -> Rows:
        if not is_ready(kernels.run):
            self.progress(COMPILING)
        rows = Rows()
        tasks = session.tasks
        kernels.look_ahead(tasks, session.trace)
        if session.clock[world.RESHARE]:
            begin = (state.until_ms or 0) - (state.origin_ms or 0)
            demand.reshare(session.clock, session.hosts, tasks, session.scratch, begin)
        while True:
            out = new_output(session, 4 * len(tasks) + 8, until_ms)
            status = kernels.run(
                session.clock, session.hosts, tasks, session.clusters, session.tree, session.scratch, session.trace,
                out,
            )  # fmt: skip
            rows.add(out)
            if status != world.FULL:
                break
        if status == world.MISSING_FRAGMENT:
            _raise_missing(state, session)
        if status == world.STUCK:
            _raise_stuck(state, session)
        return rows


def _own(state: EngineState) -> State:
    if not isinstance(state, NativeState | ExactState):
        raise EngineError(
            f"a {type(state).__name__} is not a state of the native engine. Resume with the engine that wrote it.",
            engine="native", reason="foreign state",
        )  # fmt: skip
    return state


def _check(options: EngineOptions) -> None:
    if options.sample_interval_ms <= 0:
        raise ConfigError(f"sample interval is {options.sample_interval_ms} ms; must be above 0.")
    if options.occupancy_knots < 0 or options.occupancy_knots == 1:
        raise ConfigError(f"occupancy_knots is {options.occupancy_knots}; must be 0 or at least 2.")
    if options.host_every < 0:
        raise ConfigError(f"host_every is {options.host_every}; must be 0 or more.")


def _anything_left(session: Session) -> bool:
    return bool(np.any(session.tasks["finish_ms"] < 0))


def _raise_missing(state: NativeState, session: Session) -> None:
    slot = int(session.clock[world.FAULT])
    name, count = session.names[slot], int(session.tasks["fragments"][slot])
    taken = count - int(session.tasks["left"][slot])
    raise EngineError(
        f"task {name} needs fragment {taken + 1} of {count} at "
        f"{_epoch(state, session)} ms, but it has not arrived. Send fragments no later than they begin, or state a "
        "smaller fragment_count.",
        engine="native", reason="missing fragment", task=name, fragment=taken,
    )  # fmt: skip


def _raise_stuck(state: NativeState, session: Session) -> None:
    clock, tasks, names = session.clock, session.tasks, session.names
    if clock[world.QUEUE_HEAD] < clock[world.QUEUE_TAIL]:
        slot = int(session.scratch.queue[clock[world.QUEUE_HEAD]])
        usable = session.hosts[session.hosts["open"] == 1]
        sizes = list(zip(usable["cores"].tolist(), usable["memory_mib"].tolist(), strict=True))
        needs = (names[slot], int(tasks["cpu_count"][slot]), int(tasks["mem_mib"][slot]))
        why = stuck.fits_no_host(*needs, sizes) or stuck.passes_no_filter(*needs, session.trace.filters)
    else:
        slot = int(np.flatnonzero(tasks["state"] == world.BLOCKED)[0])
        start, child = session.trace.child_start, session.trace.child
        parents = [p for p in range(len(tasks)) if slot in child[start[p] : start[p + 1]]]
        said = [f"{names[p]} is {world.STATE_NAMES[tasks['state'][p]]}" for p in parents]
        why = stuck.waits_for_parent(names[slot], said)
    raise stuck.never_ends(why, str(names[slot]))


def _epoch(state: NativeState, session: Session) -> int:
    return int(session.clock[world.NOW]) + (state.origin_ms or 0)
