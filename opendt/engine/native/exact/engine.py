"""The exact half of the native engine: state, merging of new work, results of a call."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from opendt.engine.base import EngineOptions, Occupancy, SimulationResult
from opendt.engine.native.exact import graph, results
from opendt.engine.native.exact.occupancy import Occupied
from opendt.engine.native.exact.service import Task
from opendt.engine.native.exact.topology_change import change_world, drop_empty
from opendt.engine.native.exact.world import World
from opendt.engine.native.layout import LONGEST_MS, Site, site_of
from opendt.errors import EngineError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Workload
from opendt.units import mem_capacity_to_mib

MAGIC = b"opendt-native-exact"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ExactState:
    """State of a run that follows OpenDC step by step. Nobody changes ``world`` once it is here.

    ``origin_ms`` is the epoch time of the first submission, ``until_ms`` how far the simulation is complete; both
    None before the first task.
    """

    topology: Topology
    options: EngineOptions
    carbon: CarbonTrace
    origin_ms: int | None
    until_ms: int | None
    world: World | None

    @property
    def now_ms(self) -> int | None:
        """Epoch time up to which the simulation is complete; None before the first task."""
        return self.until_ms

    def to_bytes(self) -> bytes:
        """A self-contained snapshot, compressed; equal states give equal bytes."""
        body = orjson.dumps(
            {
                "format": FORMAT,
                "topology": self.topology.model_dump(mode="json"),
                "options": asdict(self.options),
                "carbon": [self.carbon.timestamp_ms.tolist(), self.carbon.intensity_g_per_kwh.tolist()],
                "origin_ms": self.origin_ms,
                "until_ms": self.until_ms,
                "world": None if self.world is None else graph.encode(self.world),
            }
        )
        packed = pa.Codec("zstd", compression_level=1).compress(body, asbytes=True)
        return MAGIC + len(body).to_bytes(8, "little") + packed


def state_from_bytes(data: bytes) -> ExactState:
    """Inverse of ``ExactState.to_bytes``; raises ``EngineError`` for anything else."""
    at = len(MAGIC) + 8
    try:
        size = int.from_bytes(data[len(MAGIC) : at], "little")
        body = orjson.loads(pa.Codec("zstd").decompress(data[at:], decompressed_size=size, asbytes=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise EngineError(
            f"the state is damaged ({error}). Resume from an older checkpoint.", engine="native", reason="damaged state"
        ) from None
    if body.get("format") != FORMAT:
        raise EngineError(
            f"the state has format {body.get('format')}, this version reads {FORMAT}. Start the run again.",
            engine="native", reason="state of another version",
        )  # fmt: skip
    times, values = body["carbon"]
    return ExactState(
        topology=parse_topology(body["topology"], "state"),
        options=EngineOptions(**body["options"]),
        carbon=CarbonTrace(np.array(times, np.int64), np.array(values, np.float64)),
        origin_ms=body["origin_ms"],
        until_ms=body["until_ms"],
        world=None if body["world"] is None else graph.decode(body["world"]),
    )


def advance(state: ExactState, arrived: Workload, until_ms: int | None) -> tuple[ExactState, SimulationResult]:
    """Like ``Engine.advance``; ``state.origin_ms`` is known and ``until_ms`` does not lie before the state's time."""
    assert state.origin_ms is not None
    origin_ms = state.origin_ms
    site = site_of(state.topology)
    if state.world is None:
        world = World(state.topology, site, state.options, _carbon(state), origin_ms)
    else:
        world = graph.copied(state.world)
        world.forget_end()
        world.flow.now = _elapsed(state)
        drop_empty(world)
    before = _totals(world, _elapsed(state))
    counts = world.service.counts()
    _add_work(world, arrived, state)
    service = world.service
    service.open_end = until_ms is not None
    end = _elapsed(state)
    if until_ms is not None or service.active or service.waiting or service.blocked or world.pending:
        world.run(None if until_ms is None else until_ms - origin_ms)
        end = world.flow.now if until_ms is None else until_ms - origin_ms
    after = _totals(world, end)
    result = _result(world, site, state, before, after, counts)
    if state.options.failures is None and state.options.checkpoints is None and world.stopper is None:
        for task in service.tasks.values():
            task.forget_past()
    made = ExactState(state.topology, state.options, state.carbon, origin_ms, origin_ms + end, world)
    return made, result


def with_topology(state: ExactState, topology: Topology) -> ExactState:
    """The state under another topology, from its current time on."""
    if state.world is None:
        return replace(state, topology=topology)
    world = graph.copied(state.world)
    world.forget_end()
    change_world(world, state.topology, topology, _elapsed(state))
    return replace(state, topology=topology, world=world)


def _elapsed(state: ExactState) -> int:
    return 0 if state.until_ms is None or state.origin_ms is None else state.until_ms - state.origin_ms


def _carbon(state: ExactState) -> tuple[list[int], list[float]]:
    times = (np.asarray(state.carbon.timestamp_ms, np.int64) - (state.origin_ms or 0)).tolist()
    return times, [float(v) for v in state.carbon.intensity_g_per_kwh]


def _totals(world: World, at: int) -> tuple[float, float]:
    """Energy [J] and emission [g] from the beginning to simulated time ``at``."""
    joules = grams = 0.0
    for source in world.sources:
        rest = source.power_w * max(at - source.counted_ms, 0) * 0.001
        joules += source.energy_j + rest
        grams += source.carbon_g + source.intensity * rest / 3.6e6
    return joules, grams


def _add_work(world: World, arrived: Workload, state: ExactState) -> None:
    """Tasks and fragments that arrived become the world's."""
    live = {**world.service.tasks, **{task.id: task for task in world.pending}}
    new = arrived.tasks.take(arrived.tasks.fragment_count > 0)
    new = new.take(np.argsort(new.submission_ms, kind="stable"))
    for task_id in new.task_id.tolist():
        if task_id in live and live[task_id].finish_ms < 0:
            raise _repeated(task_id)
    made = _new_tasks(new, state)
    if len({task.id for task in made}) < len(made):
        ids, times = np.unique(new.task_id, return_counts=True)
        raise _repeated(int(ids[times > 1][0]))
    known = {**live, **{task.id: task for task in made}}
    for task in made:
        parents = new.parents.get(task.id, ())
        task.blockers = {p for p in parents if state.until_ms is None or (p in known and known[p].state != "COMPLETED")}
        for parent in sorted(task.blockers):
            world.service.children.setdefault(parent, []).append(task)
    _add_fragments(known, arrived.fragments)
    for task in made:
        # What counts is whether any fragment uses GPUs; before all have arrived, asking for one is a hint.
        task.uses_gpu = task.uses_gpu or (len(task.durations) < task.fragment_count and task.gpu_count > 0)
    world.add_tasks(made)


def _repeated(task_id: int) -> EngineError:
    return EngineError(
        f"task {task_id} occurs twice; task ids must be unique. Remove one of the tasks.",
        engine="native", reason="duplicate task id", task_id=task_id,
    )  # fmt: skip


def _new_tasks(new: Any, state: ExactState) -> list[Task]:
    origin, options = state.origin_ms or 0, state.options
    columns = {
        "id": new.task_id,
        "submit_ms": np.maximum(new.submission_ms - origin, _elapsed(state)),
        "cpu_count": new.cpu_count,
        "mem_mib": mem_capacity_to_mib(new.mem_capacity),
        "cpu_capacity_mhz": new.cpu_capacity_mhz,
        "fragment_count": new.fragment_count,
        "uses_cpu": new.has_cpu_usage,
        "gpu_count": new.gpu_count,
        "gpu_capacity_mhz": new.gpu_capacity_mhz,
        "duration_ms": new.duration_ms,
        "deadline_ms": new.deadline_ms - origin,
        "deferrable": new.deferrable,
        "uses_gpu": np.zeros(len(new), np.bool_),
    }
    lists = {name: np.asarray(column).tolist() for name, column in columns.items()}
    names = [str(name) for name in new.name]
    model = options.checkpoints
    made = []
    for row in range(len(new)):
        task = Task(name=names[row], **{name: column[row] for name, column in lists.items()})
        if model is not None and int(model.get("checkpointInterval", 3_600_000)) > 0:
            task.checkpoint_ms = int(model.get("checkpointDuration", 300_000))
            scaling = float(model.get("checkpointIntervalScaling", 1.0))
            task.checkpoint = (int(model.get("checkpointInterval", 3_600_000)), task.checkpoint_ms, scaling)
        made.append(task)
    return made


def _add_fragments(known: dict[int, Task], fragments: Fragments) -> None:
    duration, usage, gpu = fragments.duration_ms, fragments.cpu_usage_mhz, fragments.gpu_usage_mhz
    bad = ~((duration >= 0) & (duration <= LONGEST_MS) & (usage >= 0) & (usage < np.inf) & (gpu >= 0) & (gpu < np.inf))
    if bad.any():
        row = int(np.argmax(bad))
        raise EngineError(
            f"fragment {row} of task {fragments.task_id[row]} has duration {duration[row]} ms and usage {usage[row]} "
            f"MHz; durations must lie in 0..{LONGEST_MS} and usages must be finite and not negative.",
            engine="native", reason="bad fragment",
        )  # fmt: skip
    if len(fragments) == 0:
        return
    order = np.argsort(fragments.task_id, kind="stable")
    ids, first = np.unique(fragments.task_id[order], return_index=True)
    for task_id, part in zip(ids.tolist(), np.split(order, first[1:]), strict=True):
        task = known.get(task_id)
        if task is not None:
            task.durations += duration[part].tolist()
            task.usages += usage[part].tolist()
            task.gpu_usages += gpu[part].tolist()
            task.uses_gpu = task.uses_gpu or bool((gpu[part] > 0).any())


def _result(
    world: World, site: Site, state: ExactState, before: tuple[float, float], after: tuple[float, float],
    counts: tuple[int, int, int],
) -> SimulationResult:  # fmt: skip
    origin_ms = state.origin_ms or 0
    taken = world.recorder.take()
    service = world.service
    started, completed, terminated = (a - b for a, b in zip(service.counts(), counts, strict=True))
    found = service.take_events()
    batteries = [b for b in world.batteries if b is not None]
    names = dict(zip([c for c, b in enumerate(world.batteries) if b is not None], site.battery_names, strict=True))
    return SimulationResult(
        power_source=results.power_source(taken["source"], site, origin_ms),
        host=results.host(taken["host"], site, origin_ms),
        service=results.service(taken["service"], origin_ms),
        task=results.task(taken["task"], origin_ms) if state.options.task_rows else None,
        task_events=results.events(found, site, origin_ms),
        occupancy=_occupancy(taken["occupancy"], site, state),
        energy_j=after[0] - before[0],
        carbon_g=after[1] - before[1],
        tasks_started=started,
        tasks_completed=completed,
        tasks_terminated=terminated,
        tasks_running=service.active,
        tasks_waiting=len(service.waiting) + len(service.blocked),
        battery=results.battery(taken["battery"], names, site, origin_ms) if batteries else None,
    )


def _occupancy(found: list[Occupied], site: Site, state: ExactState) -> Occupancy | None:
    knots = state.options.occupancy_knots
    if not knots:
        return None
    shape = (len(found), len(site.groups), knots)
    weights, mean_weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    active = np.zeros(shape[:2], np.int64)
    for row, (_, now, mean, hosts) in enumerate(found):
        weights[row], mean_weights[row], active[row] = now, mean, hosts
    times = np.array([row[0] for row in found], np.int64) + (state.origin_ms or 0)
    return Occupancy(times, np.linspace(0.0, 1.0, knots), site.groups, weights, mean_weights, active)
