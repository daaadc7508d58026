"""The native engine, window by window: the same results, a small state, errors that name the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from engine_worlds import EPOCH, cut, host, joined, topology, workload

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.experiment import load_inputs, read_scenarios
from opendt.engine.native.engine import NativeEngine
from opendt.errors import EngineError
from opendt.models.topology import parse_topology
from opendt.models.workload import empty_workload

GOLDEN = Path(__file__).parents[1] / "golden"
OPTIONS = EngineOptions(sample_interval_ms=10_000, host_every=1, task_rows=True, occupancy_knots=5)


def windowed(engine, topology, whole, options, carbon, edges, *, through_bytes=False):
    state = engine.start(topology, options, carbon)
    results = []
    for part, until in zip(cut(whole, edges), [*edges, None], strict=True):
        state, result = engine.advance(state, part, until)
        if through_bytes:
            state = engine.state_from_bytes(state.to_bytes())
        results.append(result)
    return state, results


@pytest.mark.parametrize(
    "name", ["queueing_many", "two_clusters", "coincident_events", "zero_fragments", "policy_Random"]
)
@pytest.mark.parametrize("through_bytes", [False, True])
def test_any_windows_give_what_one_call_gives(name, through_bytes):
    inputs = load_inputs(read_scenarios(GOLDEN / name / "experiment.json")[0])
    options = replace(inputs.options, task_rows=True, host_every=1)
    whole = simulate(NativeEngine(), inputs.topology, inputs.workload, options, inputs.carbon)
    first = int(inputs.workload.tasks.submission_ms.min())
    last = first + int(whole.service["timestamp"].to_numpy()[-2])
    edges = list(range(first + 1, last, max((last - first) // 13, 1)))
    _, parts = windowed(
        NativeEngine(), inputs.topology, inputs.workload, options, inputs.carbon, edges, through_bytes=through_bytes
    )
    for table, rows in joined(parts).items():
        assert rows.equals(joined([whole])[table]), table
    assert sum(p.energy_j for p in parts) == pytest.approx(whole.energy_j, rel=1e-12)
    assert sum(p.carbon_g for p in parts) == pytest.approx(whole.carbon_g, rel=1e-12)
    assert sum(p.tasks_completed for p in parts) == whole.tasks_completed


def test_advance_leaves_the_state_it_was_given_alone():
    engine = NativeEngine()
    work = workload({"fragments": [(30_000, 1000.0), (30_000, 4000.0)]})
    state, _ = engine.advance(engine.start(topology(), OPTIONS), work, EPOCH + 15_000)
    before = state.to_bytes()
    first = engine.advance(state, empty_workload(), None)[1]
    assert state.to_bytes() == before
    assert engine.advance(state, empty_workload(), None)[1].power_source.equals(first.power_source)


def test_events_and_samples_at_until_belong_to_the_next_call():
    engine = NativeEngine()
    work = workload({"fragments": [(10_000, 1000.0), (20_000, 4000.0)]})
    state, first = engine.advance(engine.start(topology(), OPTIONS), work, EPOCH + 10_000)
    _, second = engine.advance(state, empty_workload(), None)
    assert first.power_source["timestamp"].to_pylist() == []
    assert first.energy_j == pytest.approx(125.0 * 10)
    assert second.power_source["timestamp"].to_pylist() == [10_000, 20_000, 30_000, 30_000]
    assert second.energy_j == pytest.approx(200.0 * 20)


def test_state_does_not_grow_with_what_has_been_simulated():
    engine = NativeEngine()
    state = engine.start(topology(host(count=3)), OPTIONS)
    sizes = []
    for window in range(40):
        at = window * 60_000
        part = workload(
            *({"id": 100 * window + i, "at": at + i * 1000, "fragments": [(5000, 800.0)] * 9} for i in range(12))
        )
        state, _ = engine.advance(state, part, EPOCH + at + 60_000)
        sizes.append(len(state.to_bytes()))
    assert max(sizes[20:]) < 1.1 * max(sizes[:20])


def test_missing_fragment_names_the_task():
    engine = NativeEngine()
    whole = workload({"id": 7, "fragments": [(10_000, 100.0), (10_000, 200.0), (10_000, 300.0)]})
    first = replace(whole, fragments=whole.fragments.take(slice(0, 2)))
    state, _ = engine.advance(engine.start(topology(), OPTIONS), first, EPOCH + 20_000)
    with pytest.raises(EngineError, match=r"task 7 needs fragment 3 of 3") as caught:
        engine.advance(state, empty_workload(), EPOCH + 30_000)
    assert caught.value.reason == "missing fragment"


def test_task_id_that_is_live_twice_is_refused():
    engine = NativeEngine()
    state, _ = engine.advance(engine.start(topology(), OPTIONS), workload({"id": 3}), EPOCH + 500)
    with pytest.raises(EngineError, match="task 3 occurs twice"):
        engine.advance(state, workload({"id": 3, "at": 600}), EPOCH + 700)


def test_task_no_single_host_can_hold_ends_the_run_with_a_reason():
    site = topology(host(cores=8, memory=10), host(cores=2, memory=1000))
    with pytest.raises(EngineError, match="task 1 needs 8 cores and 100 MiB"):
        simulate(NativeEngine(), site, workload({"cpu": 8, "mem": 100_000}), OPTIONS)


def test_parent_that_never_completes_ends_the_run_with_a_reason():
    with pytest.raises(EngineError, match="waits for a parent that never completes"):
        simulate(NativeEngine(), topology(), workload({"parents": (99,)}), OPTIONS)


def test_time_cannot_run_backwards():
    engine = NativeEngine()
    state, _ = engine.advance(engine.start(topology(), OPTIONS), workload({}), EPOCH + 5000)
    with pytest.raises(EngineError, match="already at"):
        engine.advance(state, empty_workload(), EPOCH + 4000)


def test_windows_before_the_first_task_hold_nothing():
    engine = NativeEngine()
    state, result = engine.advance(engine.start(topology(), OPTIONS), empty_workload(), EPOCH)
    assert state.now_ms is None
    assert result.power_source.num_rows == 0
    assert engine.advance(state, workload({}), None)[1].tasks_completed == 1


@pytest.mark.parametrize("data", [b"", b"nonsense", b"opendt-native-state" + b"\x10" + bytes(20)])
def test_bytes_of_something_else_are_refused(data):
    with pytest.raises(EngineError):
        NativeEngine().state_from_bytes(data)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("clusters", [[], [{"hosts": []}]])
def test_without_hosts_every_task_is_terminated(clusters, exact):
    work = workload({}, {"at": 5000, "cpu": 2})
    result = simulate(NativeEngine(), parse_topology({"clusters": clusters}), work, replace(OPTIONS, exact=exact))
    assert result.tasks_terminated == 2
    assert result.host.num_rows == 0
    assert result.energy_j == 0
    assert result.occupancy.weights.shape[1] == 0
