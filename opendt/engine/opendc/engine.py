"""The OpenDC engine: the Engine protocol on top of the experiment runner.

OpenDC has no memory between runs, so the state is the workload so far: every ``advance`` simulates from the start up
to the end of the window and returns what lies in the window. A topology change therefore also changes the simulated
past; what has been reported stays reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np
import pyarrow as pa

from opendt.engine.base import EngineOptions, EngineState, SimulationResult
from opendt.engine.opendc import events as life
from opendt.engine.opendc.batch import Batch, Files, Request
from opendt.engine.opendc.inputs import Export, check_supported, runner_ids
from opendt.engine.opendc.install import Installation, find_installation
from opendt.engine.opendc.occupancy import occupancy
from opendt.engine.opendc.outputs import between, empty, read_output, with_our_ids
from opendt.engine.opendc.state import OpenDCState, state_from_bytes
from opendt.engine.opendc.windows import Cut, check_arrived, cut, merged
from opendt.errors import EngineError, OpenDTError
from opendt.models.telemetry import CarbonTrace, no_carbon
from opendt.models.topology import Topology
from opendt.models.workload import Workload, empty_workload
from opendt.settings import OpenDCSettings
from opendt.units import MS_PER_S

_BASE_FILES = ("powerSource", "service")


class OpenDCEngine:
    """OpenDC's experiment runner as an engine. Safe to use from several threads."""

    name = "opendc"

    def __init__(self, settings: OpenDCSettings, installation: Installation | None = None) -> None:
        """Find runner and Java; raises ``MissingDependencyError`` saying what is missing and how to get it."""
        self.installation = installation or find_installation(settings.home, settings.java_home)
        self.version = self.installation.version
        self._batch = Batch(self.installation, settings)

    def start(self, topology: Topology, options: EngineOptions, carbon: CarbonTrace | None = None) -> EngineState:
        """A state before the first task; raises ``TopologyError`` or ``ConfigError`` for what OpenDC cannot do."""
        check_supported(topology, options, carbon)
        return OpenDCState(topology, options, carbon or no_carbon())

    def state_from_bytes(self, data: bytes) -> EngineState:
        """Inverse of ``EngineState.to_bytes``."""
        return state_from_bytes(data)

    def with_topology(self, state: EngineState, topology: Topology) -> EngineState:
        """The state under another topology.

        OpenDC starts from the beginning, so the tasks running now also had that topology in the past: they keep
        running unless it would have placed them at other times. Ends already reported are not reported again.
        """
        known = _own(state)
        check_supported(topology, known.options, known.carbon)
        return known.under(topology)

    def advance(
        self, state: EngineState, arrived: Workload, until_ms: int | None
    ) -> tuple[EngineState, SimulationResult]:
        """Simulate everything so far up to ``until_ms`` and return the window's part."""
        known = _own(state)
        if until_ms is not None and known.shown_ms is not None and until_ms < known.shown_ms:
            raise EngineError(
                f"cannot advance to {until_ms} ms: results up to {known.shown_ms} ms are out already.",
                engine=self.name, reason="time runs backwards",
            )  # fmt: skip
        known = replace(known, workload=merged(known.workload, arrived, known.shown_ms))
        if len(known.workload.tasks) == 0:
            return known, _nothing()
        if until_ms is not None and until_ms <= (known.origin_ms or 0):
            return replace(known, complete_ms=until_ms, shown_ms=until_ms), _nothing()
        part = cut(known.workload, until_ms, whole_tasks=known.options.checkpoints is not None)
        request = _request((known.topology,), part, known, until_ms)
        (files,) = self._batch.run(request)
        return _assembled(self._read(files, request, part), known, until_ms)

    def simulate_many(
        self,
        topologies: list[Topology],
        workload: Workload,
        options: EngineOptions,
        carbon: CarbonTrace | None = None,
    ) -> list[SimulationResult]:
        """A whole workload under many topologies, in as few Java processes as the settings ask for.

        Raises the error of the first topology that failed; ``simulate_each`` keeps the others' results.
        """
        results: list[SimulationResult] = []
        for result in self.simulate_each(topologies, workload, options, carbon):
            if isinstance(result, OpenDTError):
                raise result
            results.append(result)
        return results

    def simulate_each(
        self,
        topologies: list[Topology],
        workload: Workload,
        options: EngineOptions,
        carbon: CarbonTrace | None = None,
    ) -> list[SimulationResult | OpenDTError]:
        """Like ``simulate_many``, with an error in the place of each topology that OpenDC cannot simulate."""
        found: dict[int, SimulationResult | OpenDTError] = {}
        states = {}
        every = merged(empty_workload(), workload, None)
        for index, topology in enumerate(topologies):
            try:
                check_supported(topology, options, carbon)
                states[index] = OpenDCState(topology, options, carbon or no_carbon(), every)
            except OpenDTError as error:
                found[index] = error
        if states and len(every.tasks):
            part = cut(every, None, whole_tasks=True)
            request = _request(tuple(s.topology for s in states.values()), part, next(iter(states.values())), None)
            for (index, state), files in zip(states.items(), self._batch.run(request), strict=True):
                found[index] = self._result_or_error(files, request, part, state)
        return [found.get(index) or _nothing() for index in range(len(topologies))]

    def _result_or_error(
        self, files: Files | OpenDTError, request: Request, part: Cut, state: OpenDCState
    ) -> SimulationResult | OpenDTError:
        try:
            return _assembled(self._read(files, request, part), state, None)[1]
        except EngineError as error:
            return error

    def _read(self, files: Files | OpenDTError, request: Request, part: Cut) -> _Run:
        """The tables of a run; raises its error if it failed."""
        if isinstance(files, OpenDTError):
            raise files
        try:
            tables = {
                (number, name): read_output(folder, name)
                for number, (folder, export) in enumerate(zip(files.folders, request.exports, strict=True))
                for name in export.files
            }
        except EngineError:
            self._batch.cache.drop(files.cache_key)
            raise
        task_id = part.workload.tasks.task_id
        ids = runner_ids(task_id)
        tables = {key: with_our_ids(t, ids, task_id) if key[1] == "task" else t for key, t in tables.items()}
        return _Run(tables, part)


@dataclass(frozen=True, slots=True)
class _Run:
    """Tables by (export number, name), and the workload they come from."""

    tables: dict[tuple[int, str], pa.Table]
    part: Cut

    def find(self, name: str) -> pa.Table | None:
        """The table from the first export that has it."""
        return next((table for (_, n), table in sorted(self.tables.items()) if n == name), None)

    def finest_power(self) -> pa.Table:
        """The power table with the closest samples."""
        return max((t for (_, n), t in self.tables.items() if n == "powerSource"), key=len)


def _own(state: EngineState) -> OpenDCState:
    if not isinstance(state, OpenDCState):
        raise EngineError(
            f"a state of another engine ({type(state).__name__}) was given to OpenDC.", engine="opendc",
            reason="foreign state",
        )  # fmt: skip
    return state


def _request(topologies: tuple[Topology, ...], part: Cut, state: OpenDCState, until_ms: int | None) -> Request:
    _refuse_endless(topologies, part.workload)
    has_battery = any(c.battery for t in topologies for c in t.clusters)
    exports = _exports(state, until_ms, ("battery",) if has_battery else ())
    return Request(topologies, part.workload, state.options, state.carbon, exports)


def _exports(state: OpenDCState, until_ms: int | None, more: tuple[str, ...]) -> tuple[Export, ...]:
    """The export models: the sampled tables; hosts where they are wanted less often; power at the window's ends.

    The last is needed when a window ends between two samples, so that its energy is known. Occupancy needs hosts at
    every sample.
    """
    options = state.options
    interval_s = options.sample_interval_ms // MS_PER_S
    hosts = ("host",) if options.host_every == 1 or options.occupancy_knots else ()
    if options.host_every <= 1:
        exports = [Export(interval_s, (*_BASE_FILES, *hosts, "task", *more))]
    else:
        fine, coarse = (("task",), ()) if options.task_rows else ((), ("task",))
        exports = [
            Export(interval_s, (*_BASE_FILES, *hosts, *fine, *more)),
            Export(interval_s * options.host_every, ("host", *coarse)),
        ]
    common_s = gcd(interval_s, *(t // MS_PER_S for t in _ends(state, until_ms) if t % MS_PER_S == 0))
    if common_s != interval_s:
        exports.append(Export(common_s, ("powerSource",)))
    return tuple(exports)


def _ends(state: OpenDCState, until_ms: int | None) -> list[int]:
    """The window's ends on OpenDC's clock [ms], as far as they are known."""
    origin = state.origin_ms or 0
    return [t - origin for t in (state.shown_ms, until_ms) if t is not None and t > origin]


def _refuse_endless(topologies: tuple[Topology, ...], workload: Workload) -> None:
    """Raise ``EngineError`` for a task on which OpenDC waits for ever (SEMANTICS 11.1, 11.5)."""
    cores = workload.tasks.cpu_count.astype(np.int64)
    memory = (workload.tasks.mem_capacity + 500) // 1000
    for topology in topologies:
        sizes = {(h.cores, int(h.memory.memorySize)) for c in topology.clusters for h in c.hosts}
        if not sizes:
            continue
        largest = (cores <= max(c for c, _ in sizes)) & (memory <= max(m for _, m in sizes))
        fits = np.logical_or.reduce([(cores <= c) & (memory <= m) for c, m in sizes])
        for row in np.flatnonzero(largest & ~fits)[:1]:
            raise _endless(
                int(workload.tasks.task_id[row]),
                "fits no single host, though one has the cores and another the memory it asks for. Give some host both",
            )
        doomed = set(workload.tasks.task_id[~largest].tolist())
        for task, parents in workload.tasks.parents.items():
            if doomed.intersection(parents):
                raise _endless(task, "depends on a task that is larger than any host and will never complete")


def _endless(task: int, why: str) -> EngineError:
    return EngineError(
        f"task {task} {why}, or drop the task: OpenDC would wait for ever.", engine="opendc", reason="endless wait",
        task_id=task,
    )  # fmt: skip


def _assembled(run: _Run, state: OpenDCState, until_ms: int | None) -> tuple[OpenDCState, SimulationResult]:
    """The window's part of a run and the state after it."""
    origin = state.origin_ms or 0
    start = state.shown_ms
    power, task = run.find("powerSource"), run.find("task")
    if power is None or task is None:
        raise EngineError("OpenDC wrote no power or task table.", engine="opendc", reason="results missing")
    if run.part.marker is not None:
        task = task.filter(pa.compute.not_equal(task["task_id"], run.part.marker))
    end = until_ms if until_ms is not None else int(power["timestamp_absolute"].to_numpy().max(initial=0)) + 1
    happened = life.read_events(task, origin)
    completed = happened.event == life.COMPLETED
    ended_ms = dict(zip(happened.task_id[completed].tolist(), happened.time_ms[completed].tolist(), strict=True))
    check_arrived(run.part, ended_ms, until_ms)
    happened = happened.take(happened.time_ms < end)
    new = _new_events(happened, state)
    energy_j, carbon_g = _totals(run, end if until_ms is not None else None)
    base_j, base_g = state.energy_j, state.carbon_g
    if state.switched:
        base_j, base_g = _totals(run, start)
    running, waiting = life.standing(
        happened.take(~np.isin(happened.task_id, state.ended)) if state.switched else happened
    )
    names = dict(zip(run.part.workload.tasks.task_id.tolist(), run.part.workload.tasks.name.tolist(), strict=True))
    every, battery = state.options.host_every, run.find("battery")
    host = run.tables.get((min(every, 2) - 1, "host"))
    result = SimulationResult(
        power_source=between(power, start, end),
        host=empty("host") if host is None else between(host, start, end),
        service=between(_required(run, "service"), start, end),
        task=between(task, start, end) if state.options.task_rows else None,
        task_events=life.event_table(new, names, life.cluster_of_hosts(state.topology)),
        occupancy=occupancy(state, run.tables.get((0, "host")), start, end),
        energy_j=energy_j - base_j,
        carbon_g=carbon_g - base_g,
        tasks_started=new.count(life.SCHEDULED),
        tasks_completed=new.count(life.COMPLETED),
        tasks_terminated=new.count(life.TERMINATED),
        tasks_running=running,
        tasks_waiting=waiting,
        battery=None if battery is None else between(battery, start, end),
    )
    over = np.isin(new.event, (life.COMPLETED, life.TERMINATED))
    after = replace(
        state, complete_ms=end if until_ms is not None else end - 1, shown_ms=end,
        started=np.union1d(state.started, new.task_id[new.event == life.SCHEDULED]),
        ended=np.union1d(state.ended, new.task_id[over]),
        energy_j=energy_j, carbon_g=carbon_g, switched=False,
    )  # fmt: skip
    return after, result


def _required(run: _Run, name: str) -> pa.Table:
    table = run.find(name)
    if table is None:
        raise EngineError(f"OpenDC wrote no {name} table.", engine="opendc", reason="results missing")
    return table


def _new_events(happened: life.Events, state: OpenDCState) -> life.Events:
    """Events of this window; after a topology change also ends that the changed past has already behind it."""
    start = state.shown_ms
    if start is None:
        return happened
    new = happened.take(happened.time_ms >= start)
    if not state.switched:
        return new
    over = np.isin(happened.event, (life.COMPLETED, life.TERMINATED))
    late = happened.take(over & (happened.time_ms < start) & ~np.isin(happened.task_id, state.ended))
    fresh = ~np.isin(new.task_id, state.ended) & ~(
        np.isin(new.event, (life.SUBMITTED, life.SCHEDULED)) & np.isin(new.task_id, state.started)
    )
    new = new.take(fresh)
    late = life.Events(late.task_id, late.event, np.full(len(late.task_id), start, np.int64), late.host)
    joined = (np.concatenate([getattr(late, c), getattr(new, c)]) for c in life.Events.__slots__)
    return life.Events(*joined)


def _totals(run: _Run, until_ms: int | None) -> tuple[float, float]:
    """Energy [J] and emission [g] from the start up to the last sample at or before a time."""
    power = run.finest_power()
    if until_ms is not None:
        power = between(power, None, until_ms + 1)
    return tuple(float(power[c].to_numpy().astype(np.float64).sum()) for c in ("energy_usage", "carbon_emission"))  # type: ignore[return-value]


def _nothing() -> SimulationResult:
    """The result of a call in which nothing could happen."""
    return SimulationResult(
        power_source=empty("powerSource"), host=empty("host"), service=empty("service"), task=None,
        task_events=life.SCHEMA.empty_table(), occupancy=None, energy_j=0.0, carbon_g=0.0, tasks_started=0,
        tasks_completed=0, tasks_terminated=0, tasks_running=0, tasks_waiting=0,
    )  # fmt: skip
