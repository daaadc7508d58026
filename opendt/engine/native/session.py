"""One call of the native engine: a working copy of the state, new work merged in, arrays for kernels, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from opendt.engine.native import layout, world
from opendt.engine.native.jdk import seeded
from opendt.engine.native.placement import build_tree
from opendt.engine.native.policies import BY_SCORE, read_policy
from opendt.engine.native.state import NativeState
from opendt.engine.native.timers import RECENT, restore_timers
from opendt.engine.native.world import FAR, Output, Scratch, Trace
from opendt.models.telemetry import CarbonTrace
from opendt.models.workload import Workload
from opendt.units import mem_capacity_to_mib

ROWS_AT_ONCE = 6_000_000  # host or task rows of one output block


@dataclass(slots=True)
class Session:
    """Arrays of one call; kernels change them, the state they came from stays as it was."""

    clock: Any
    hosts: Any  # records as in ``world``
    tasks: Any
    clusters: Any
    tree: Any
    scratch: Scratch
    trace: Trace
    names: Any  # source ids by slot
    steps: tuple[Any, Any]  # the whole carbon trace on the simulated clock
    kept: dict[str, Any]


def fresh_arrays(state: NativeState) -> dict[str, Any]:
    """Arrays of a state before its first task."""
    site = state.site
    hosts = layout.new_hosts(state.topology, site)
    clusters = layout.new_clusters(state.topology, hosts, state.carbon)
    clock = np.zeros(world.CLOCK_SIZE, np.int64)
    clock[world.CYCLE_AT] = clock[world.CLOSE_AT] = clock[world.CLOSE_SEQ] = FAR
    clock[world.SEQUENCE] = 2
    clock[world.WAKES] = 1  # WAKE(0) has number 0
    clock[world.INTERVAL] = clock[world.TICK_AT] = state.options.sample_interval_ms
    clock[world.TICK_SEQ] = clock[world.TICK_NUMBER] = 1
    clock[world.SUBMIT_SEQ] = -1  # tasks of time 0 are submitted before anything else happens
    clock[world.HOST_EVERY] = state.options.host_every
    clock[world.TASK_ROWS] = int(state.options.task_rows)
    clock[world.KNOTS] = state.options.occupancy_knots
    none = np.zeros(0, np.int64)
    return {
        "clock": clock,
        "hosts": hosts,
        "clusters": clusters,
        "tasks": layout.new_tasks(0),
        "queue": none,
        "row_slots": none,
        "active_hosts": none,
        "wakes": np.zeros(1, world.WAKE),
        "occupancy": np.zeros((max(len(site.groups), 1), max(state.options.occupancy_knots, 1))),
        "random": seeded(state.options.seed),
        "duration_ms": none,
        "usage_mhz": np.zeros(0),
    }


def carbon_arrays(carbon: CarbonTrace, origin_ms: int) -> tuple[Any, Any]:
    """Step times on the simulated clock and values."""
    times = np.asarray(carbon.timestamp_ms, np.int64) - origin_ms
    return times, np.array(carbon.intensity_g_per_kwh, np.float64)


def open_session(state: NativeState, arrived: Workload, until_ms: int | None) -> Session:
    """A working copy of ``state`` with ``arrived`` merged in. ``state.origin_ms`` must be known."""
    assert state.origin_ms is not None
    a = state.arrays
    clock = a["clock"].copy()
    carried = a["tasks"]
    tasks, names, children = _merge_tasks(state, carried, arrived)
    n = len(tasks)
    duration_ms, usage_mhz = _merge_fragments(a, tasks, arrived)
    hosts = a["hosts"].copy()
    clusters = a["clusters"].copy()
    carbon_ms, carbon_value = steps = state.steps or carbon_arrays(state.carbon, state.origin_ms)
    if state.until_ms is None and len(carbon_ms):
        # The first value also holds before its time, where nothing happens.
        first = max(int(np.searchsorted(carbon_ms, 0, side="right")), 1)
        clusters["intensity"][clusters["has_carbon"] == 1] = carbon_value[first - 1]
        clock[world.CARBON_NEXT] = first
    if not clusters["has_carbon"].any():
        carbon_ms = carbon_ms[:0]
    if "session" not in state.kept:
        state.kept["session"] = _fixed(state, hosts)
    fixed: dict[str, Any] = state.kept["session"]
    trace = Trace(
        duration_ms=duration_ms,
        usage_mhz=usage_mhz,
        carbon_ms=carbon_ms,
        carbon_value=carbon_value,
        child_start=children[0],
        child=children[1],
        random=a["random"].copy(),
        **fixed,
    )
    clock[world.ORIGIN] = state.origin_ms
    clock[world.UNTIL] = FAR if until_ms is None else until_ms - state.origin_ms
    clock[world.FINAL] = int(until_ms is None)
    clock[world.CLOSE_AT] = clock[world.CLOSE_SEQ] = FAR
    clock[[world.STARTED_CALL, world.COMPLETED_CALL, world.TERMINATED_CALL]] = 0
    clock[world.USUAL] = usual_length(duration_ms)
    scratch = _scratch(a, clock, hosts, tasks, n)
    tree = _tree(len(hosts))
    if fixed["policy"][0] == BY_SCORE:
        build_tree(tree, hosts, fixed["policy"], fixed["policy_values"][0])
    return Session(clock, hosts, tasks, clusters, tree, scratch, trace, names, steps, state.kept)


def _fixed(state: NativeState, hosts: Any) -> dict[str, Any]:
    """Fields of a ``Trace`` that topology and options alone decide."""
    policy = read_policy(state.options.allocation)
    numbers, values = policy.arrays()
    kinds, curve_values, levels = layout.curves_of(state.topology)
    usable = hosts[hosts["open"] == 1]
    return {
        "policy": numbers,
        "policy_values": values,
        "filters": policy.filters,
        "weighers": policy.weighers,
        "curve_kind": kinds,
        "curve_values": curve_values,
        "curve_levels": levels,
        "group_hosts": np.bincount(hosts["group"], minlength=max(len(kinds), 1)).astype(np.int64),
        "limits": np.array([usable["cores"].max(initial=0), usable["memory_mib"].max(initial=0)], np.int64),
    }


def _merge_tasks(state: NativeState, carried: Any, arrived: Workload) -> tuple[Any, Any, Any]:
    """Slots of carried tasks followed by the new ones in order of submission, names, and children by slot."""
    new = arrived.tasks
    order = np.flatnonzero(new.fragment_count > 0)
    order = order[np.argsort(new.submission_ms[order], kind="stable")]
    origin_ms = state.origin_ms or 0
    earliest = 0 if state.until_ms is None else state.until_ms - origin_ms
    count = new.fragment_count[order]
    table = layout.new_tasks(
        len(order),
        id=new.task_id[order],
        submit_ms=np.maximum(new.submission_ms[order] - origin_ms, earliest),
        cpu_count=new.cpu_count[order],
        mem_mib=mem_capacity_to_mib(new.mem_capacity[order]),
        cpu_capacity_mhz=new.cpu_capacity_mhz[order],
        uses_cpu=new.has_cpu_usage[order],
        fragments=count,
        left=count,
    )
    merged = np.concatenate([carried, table])
    names = np.array([*state.names, *new.name[order].tolist()], dtype=object)
    kept = set(table["id"].tolist()) if new.parents else set()
    parents = {task: waits_for for task, waits_for in new.parents.items() if task in kept}
    return merged, names, _children(merged, len(carried), parents, state.until_ms is not None)


def _children(tasks: Any, carried: int, parents: dict[int, tuple[int, ...]], resumed: bool) -> tuple[Any, Any]:
    """Children of each slot as (start, child); counts the parents each new task waits for.

    A parent nobody has heard of blocks its child for ever in a run from the beginning. In a resumed run it is taken
    to have completed in an earlier call, since tasks that ended are not remembered.
    """
    n = len(tasks)
    if not parents:
        return np.zeros(n + 1, np.int64), np.zeros(0, np.int64)
    slot_of = {int(task): slot for slot, task in enumerate(tasks["id"].tolist())}
    children: list[list[int]] = [[] for _ in range(n)]
    for task, waits_for in parents.items():
        slot = slot_of[task]
        if slot < carried:
            continue
        for parent in waits_for:
            at = slot_of.get(int(parent))
            if at is not None and tasks["state"][at] != world.COMPLETE:
                children[at].append(slot)
                tasks["waits_for"][slot] += 1
            elif not resumed:
                tasks["waits_for"][slot] += 1
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(c) for c in children])]).astype(np.int64)
    return start, np.array([c for group in children for c in sorted(group)], np.int64)


def _merge_fragments(a: dict[str, Any], tasks: Any, arrived: Workload) -> tuple[Any, Any]:
    """Fragments grouped by slot; sets ``at`` and ``end`` of every slot."""
    n = len(tasks)
    new = arrived.fragments
    duration = np.ascontiguousarray(new.duration_ms, np.int64)
    usage = np.ascontiguousarray(new.cpu_usage_mhz, np.float64)
    bad = layout.first_bad_fragment(duration, usage, layout.LONGEST_MS)
    if bad >= 0:
        raise layout.EngineError(
            f"fragment {bad} of task {new.task_id[bad]} has duration {duration[bad]} ms and usage {usage[bad]} MHz; "
            f"durations must lie in 0..{layout.LONGEST_MS} and usages must be finite and not negative.",
            engine="native", reason="bad fragment",
        )  # fmt: skip
    start, count = np.zeros(n, np.int64), np.zeros(n, np.int64)
    ids = np.ascontiguousarray(tasks["id"])
    table = layout.hash_table(ids)
    wanted = np.ascontiguousarray(new.task_id, np.int64)
    grouped = layout.find_groups(ids, table, wanted, start, count)
    old_count = tasks["end"] - tasks["at"]
    if grouped and not old_count.any() and duration.flags.writeable and usage.flags.writeable:
        tasks["at"] = start
        tasks["end"] = start + count
        return duration, usage
    total = old_count + count
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(total)])
    out_duration, out_usage = np.empty(first[-1], np.int64), np.empty(first[-1])
    cursor = first[:-1].copy()
    if len(a["duration_ms"]):
        old_slot = np.repeat(np.arange(n), old_count).astype(np.int32)
        layout.scatter(old_slot, a["duration_ms"], a["usage_mhz"], cursor, out_duration, out_usage)
    slot = np.empty(len(new), np.int32)
    layout.find_slots(ids, table, wanted, slot)
    layout.scatter(slot, duration, usage, cursor, out_duration, out_usage)
    tasks["at"] = first[:-1]
    tasks["end"] = first[1:]
    return out_duration, out_usage


def _scratch(a: dict[str, Any], clock: Any, hosts: Any, tasks: Any, n: int) -> Scratch:
    def room(name: str, size: int) -> Any:
        kept = a[name]
        return np.concatenate([kept, np.zeros(max(size - len(kept), 0), kept.dtype)])

    ints = lambda size: np.zeros(size, np.int64)  # noqa: E731
    h = len(hosts)
    s = Scratch(
        queue=room("queue", n),
        starting=ints(n),
        row_slots=room("row_slots", n),
        changed=ints(n),
        chained=ints(n),
        dirty_hosts=ints(h),
        active_hosts=room("active_hosts", h),
        wakes=room("wakes", len(a["wakes"]) + 2 * n + 8),
        line=np.zeros(n + 1, world.DUE),
        heap=np.zeros(n + 1, world.BUCKET),
        recent=np.full(RECENT, -1, np.int64).repeat(2).view(world.BUCKET),
        bucket_first=ints(n + 1),
        bucket_free=np.arange(n + 1, dtype=np.int64),
        bucket_next=ints(n),
        occupancy=a["occupancy"].copy(),
        share=np.zeros(n),
        share_order=ints(n),
        stack=ints(128),
        candidate=ints(h),
        raw=np.zeros(h),
        total=np.zeros(h),
    )
    clock[world.HEAP], clock[world.BUCKETS] = 0, n + 1
    clock[world.LINE_HEAD] = clock[world.LINE_TAIL] = 0
    restore_timers(clock, s, np.ascontiguousarray(tasks["deadline_ms"]))
    return s


def usual_length(duration_ms: Any) -> int:
    """A duration that most fragments have, if there is one: the median of some."""
    some = np.sort(duration_ms[:: max(len(duration_ms) // 101, 1)])
    return int(some[len(some) // 2]) if len(some) else 0


def _tree(hosts: int) -> Any:
    size = 2 * max(1, 1 << (hosts - 1).bit_length()) if hosts else 2
    return np.empty(size, world.NODE)


def new_output(session: Session, events: int, until_ms: int | None) -> Output:
    """Room for rows: as many samples as the call should need, within ``ROWS_AT_ONCE``."""
    clock, hosts, tasks = session.clock, session.hosts, session.tasks
    h, n = len(hosts), len(tasks)
    interval = int(clock[world.INTERVAL])
    if until_ms is None:
        some = session.trace.duration_ms[:: max(len(session.trace.duration_ms) // 1000, 1)]
        mean_ms = int(some.mean()) if len(some) else 0
        last = int(tasks["submit_ms"].max(initial=0))
        end = last + mean_ms * len(session.trace.duration_ms) // max(n, 1) * 2
    else:
        end = int(clock[world.UNTIL])
    samples = max((end - int(clock[world.NOW])) // interval + 4, 4)
    every = int(clock[world.HOST_EVERY])
    knots = int(clock[world.KNOTS])
    groups = len(session.trace.group_hosts)
    samples = min(samples, max(4, 40_000_000 // max(groups * knots, 1)), 1_000_000)
    host_rows = min((samples // every + 3) * h, max(ROWS_AT_ONCE, h)) if every else 0
    task_rows = max(min(samples * 128, ROWS_AT_ONCE), n + 1) if clock[world.TASK_ROWS] else 0
    i64, f32 = np.int64, np.float32
    shape = (samples, groups, knots) if knots else (0, groups, 1)
    return Output(
        used=np.zeros(4, i64),
        sample_ms=np.empty(samples, i64),
        service=np.empty((samples, 7), i64),
        source=np.empty((samples, len(session.clusters), 4)),
        host_int=np.empty((5, host_rows), i64),
        host_float=np.empty((5, host_rows), f32),
        host_tasks=np.empty(host_rows, np.int32),
        task_int=np.empty((10, task_rows), i64),
        task_small=np.empty((5, task_rows), np.int32),
        task_float=np.empty((3, task_rows), f32),
        event=np.empty((4, events), i64),
        weights=np.zeros(shape, f32),
        mean_weights=np.zeros(shape, f32),
        active_hosts=np.zeros((samples, groups), i64),
    )


def close_session(state: NativeState, session: Session, until_ms: int) -> NativeState:
    """The new state: tasks that ended are dropped, slots numbered anew, remaining fragments kept."""
    clock, hosts, tasks, s = session.clock, session.hosts, session.tasks, session.scratch
    rows = s.row_slots[: clock[world.ROWS]]
    keep = tasks["finish_ms"] < 0
    keep[rows] = True
    kept = np.flatnonzero(keep)
    place = np.full(len(tasks) + 1, -1, np.int64)  # the last entry maps -1 to -1
    place[kept] = np.arange(len(kept))
    tasks = tasks[kept]
    tasks["next"] = place[tasks["next"]]
    tasks["previous"] = place[tasks["previous"]]
    left = np.where(tasks["finish_ms"] < 0, tasks["end"] - tasks["at"], 0)
    end = np.cumsum(left)
    index = np.repeat(tasks["at"] - end + left, left) + np.arange(left.sum())
    tasks["at"], tasks["end"] = end - left, end
    hosts["first"], hosts["last"] = place[hosts["first"]], place[hosts["last"]]
    clock[world.NEXT_TASK] = np.count_nonzero(kept < clock[world.NEXT_TASK])
    queue = place[s.queue[clock[world.QUEUE_HEAD] : clock[world.QUEUE_TAIL]]]
    clock[world.QUEUE_TAIL] -= clock[world.QUEUE_HEAD]
    clock[world.QUEUE_HEAD] = 0
    wakes = int(clock[world.WAKES])
    arrays = {
        "clock": clock,
        "hosts": hosts,
        "clusters": session.clusters,
        "tasks": tasks,
        "queue": queue,
        "row_slots": place[rows],
        "active_hosts": s.active_hosts[: clock[world.ACTIVE_HOSTS]].copy(),
        "wakes": s.wakes[:wakes].copy(),
        "occupancy": s.occupancy,
        "random": session.trace.random,
        "duration_ms": session.trace.duration_ms[index],
        "usage_mhz": session.trace.usage_mhz[index],
    }
    return NativeState(
        topology=state.topology,
        options=state.options,
        carbon=state.carbon,
        origin_ms=state.origin_ms,
        until_ms=until_ms,
        names=tuple(session.names[kept].tolist()),
        host_names=state.host_names,
        arrays=arrays,
        site=state.site,
        steps=session.steps,
        kept=session.kept,
    )
