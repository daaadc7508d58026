"""Another topology in the middle of a run: tasks keep running, removed hosts drain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_worlds import EPOCH, host, topology, workload

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native.engine import NativeEngine
from opendt.errors import TopologyError
from opendt.models.topology import parse_topology
from opendt.models.workload import empty_workload

OPTIONS = EngineOptions(sample_interval_ms=10_000, host_every=1, task_rows=True, occupancy_knots=3)
LONG = [(60_000, 1000.0)]


def changed(before, after, work, at=20_000, more=None):
    """Results before and after the topology changes at ``at`` ms."""
    engine = NativeEngine()
    state, first = engine.advance(engine.start(before, OPTIONS), work, EPOCH + at)
    state = engine.with_topology(state, after)
    last, second = engine.advance(state, more or empty_workload(), None)
    return first, second, last


def powers(result):
    return dict(
        zip(result.power_source["timestamp"].to_pylist(), result.power_source["power_draw"].to_pylist(), strict=True)
    )


def test_same_topology_changes_nothing():
    site, work = topology(host(count=2)), workload({"fragments": LONG}, {"at": 5000, "fragments": [(30_000, 6000.0)]})
    first, second, _ = changed(site, site, work)
    whole = simulate(NativeEngine(), site, work, OPTIONS)
    assert second.power_source.slice(0).equals(whole.power_source.slice(first.power_source.num_rows))
    assert second.task.equals(whole.task.slice(first.task.num_rows))
    assert first.energy_j + second.energy_j == pytest.approx(whole.energy_j)


def test_more_hosts_draw_power_at_once_and_take_waiting_tasks():
    work = workload({"cpu": 4, "fragments": LONG}, {"cpu": 4, "fragments": LONG})
    first, second, _ = changed(topology(host()), topology(host(count=3)), work)
    assert powers(first)[10_000] == pytest.approx(125.0)
    events = {(e["task_id"], e["event"]): e for e in second.task_events.to_pylist()}
    assert events[2, "scheduled"]["time_ms"] == EPOCH + 20_000
    assert events[2, "scheduled"]["host_name"] == "H-0"
    assert powers(second)[30_000] == pytest.approx(2 * 125.0 + 100.0)
    assert events[1, "completed"]["time_ms"] == EPOCH + 60_000


def test_removed_host_keeps_its_task_takes_no_new_one_and_vanishes_when_empty():
    busy = [{"cpu": 4, "fragments": LONG} for _ in range(3)]
    before, after = topology(host(count=3)), topology(host(count=1))
    engine = NativeEngine()
    state, _ = engine.advance(engine.start(before, OPTIONS), workload(*busy), EPOCH + 20_000)
    state = engine.with_topology(state, after)
    late = workload({"id": 9, "at": 21_000, "cpu": 4, "fragments": [(5000, 1000.0)]})
    state, during = engine.advance(state, late, EPOCH + 70_000)
    rows = during.host.to_pylist()
    assert {r["host_name"] for r in rows if r["timestamp"] == 30_000} == {"H", "H-0", "H-1"}
    placed = [e for e in during.task_events.to_pylist() if e["event"] == "scheduled"]
    assert [(e["task_id"], e["host_name"], e["time_ms"] - EPOCH) for e in placed] == [(9, "H", 60_000)]
    assert during.tasks_completed == 4
    _, after_all = engine.advance(state, workload({"id": 10, "at": 80_000}), None)
    assert {r["host_name"] for r in after_all.host.to_pylist()} == {"H"}
    assert powers(after_all)[80_000] == pytest.approx(100.0)


def test_idle_removed_hosts_are_gone_at_once():
    first, second, _ = changed(topology(host(count=5)), topology(host(count=1)), workload({"fragments": LONG}))
    assert powers(first)[10_000] == pytest.approx(525.0)
    assert powers(second)[20_000] == pytest.approx(125.0)
    assert second.occupancy.weights[0].sum() == pytest.approx(1.0)


def test_slower_and_hungrier_hosts_apply_from_the_change_on():
    work = workload({"fragments": [(60_000, 4000.0)]})
    after = topology(host(speed=500.0, power={"modelType": "linear", "idlePower": 10.0, "maxPower": 50.0}))
    first, second, _ = changed(topology(host()), after, work)
    assert first.energy_j == pytest.approx(200.0 * 20)
    assert second.energy_j == pytest.approx(50.0 * 40)
    row = next(r for r in second.task.to_pylist() if r["timestamp"] == 30_000)
    assert (row["cpu_limit"], row["cpu_usage"], row["cpu_demand"]) == (2000.0, 2000.0, 4000.0)
    assert row["cpu_time_steal"] == 10


def test_memory_in_use_stays_in_use():
    work = workload({"mem": 60_000, "fragments": LONG})
    engine = NativeEngine()
    state, _ = engine.advance(engine.start(topology(host(memory=100)), OPTIONS), work, EPOCH + 20_000)
    state = engine.with_topology(state, topology(host(memory=80)))
    assert state.arrays["hosts"]["free_mib"].tolist() == [20]


def test_change_survives_bytes_and_carries_energy_totals():
    engine = NativeEngine()
    work = workload({"fragments": LONG}, {"at": 100, "fragments": LONG})
    state, _ = engine.advance(engine.start(topology(host(count=2)), OPTIONS), work, EPOCH + 15_000)
    state = engine.with_topology(state, topology(host(count=1)))
    again = engine.state_from_bytes(state.to_bytes())
    a, b = (engine.advance(s, empty_workload(), None)[1] for s in (state, again))
    assert a.power_source.equals(b.power_source)
    assert a.energy_j == b.energy_j
    sampled = a.power_source["energy_usage"].to_numpy().sum()
    assert sampled == pytest.approx(a.energy_j + 250.0 * 5, rel=1e-6)  # the first sample began at 10 s


def test_busy_host_type_cannot_disappear():
    before = topology(host(name="A"), host(name="B"))
    with pytest.raises(TopologyError, match="host B still runs tasks"):
        changed(
            before, topology(host(name="A")), workload({"cpu": 4, "fragments": LONG}, {"cpu": 4, "fragments": LONG})
        )


def test_clusters_are_known_by_name():
    def clusters(*names):
        return parse_topology({"clusters": [{"name": n, "hosts": [host()], "powerSource": {"name": n}} for n in names]})

    first, second, _ = changed(clusters("a", "b"), clusters("b", "a"), workload({"fragments": LONG}))
    assert first.task_events.to_pylist()[-1]["cluster_name"] == "a"
    done = second.task_events.to_pylist()[-1]
    assert (done["event"], done["cluster_name"]) == ("completed", "a")
    at = {(r["timestamp"], r["cluster_name"]): r["power_draw"] for r in second.power_source.to_pylist()}
    assert at[20_000, "a"] == pytest.approx(125.0)
    assert at[20_000, "b"] == pytest.approx(100.0)


def test_topology_before_the_first_task_is_simply_replaced():
    engine = NativeEngine()
    state = engine.with_topology(engine.start(topology(host()), OPTIONS), topology(host(count=4)))
    result = engine.advance(state, workload({"fragments": LONG}), None)[1]
    assert np.unique(result.host["host_name"].to_pylist()).tolist() == ["H", "H-0", "H-1", "H-2"]


@pytest.mark.parametrize(
    "after",
    [
        topology(host(count=4)),
        topology(host(count=1)),
        topology(host(count=2, speed=500.0, power={"modelType": "sqrt", "idlePower": 10.0, "maxPower": 90.0})),
    ],
)
def test_exact_runs_change_as_the_closed_form_does(after):
    work = workload(*({"at": 400 * i, "cpu": 2, "fragments": [(25_000, 900.0), (9000, 2500.0)]} for i in range(6)))
    more = workload(*({"id": 20 + i, "at": 21_000 + i, "cpu": 3, "fragments": [(7000, 100.0)]} for i in range(5)))
    outcomes = []
    for exact in (False, True):
        engine = NativeEngine()
        options = replace(OPTIONS, exact=exact)
        state, first = engine.advance(engine.start(topology(host(count=2)), options), work, EPOCH + 20_500)
        state = engine.with_topology(state, after)
        state = engine.state_from_bytes(state.to_bytes())
        state, second = engine.advance(state, more, EPOCH + 41_000)
        _, third = engine.advance(state, empty_workload(), None)
        outcomes.append((first, second, third))
    for a, b in zip(*outcomes, strict=True):
        assert a.energy_j == pytest.approx(b.energy_j)
        assert set(map(str, a.task_events.to_pylist())) == set(map(str, b.task_events.to_pylist()))
        names = ("timestamp", "power_draw", "energy_usage")
        assert [a.power_source[n].to_pylist() for n in names] == [
            pytest.approx(b.power_source[n].to_pylist()) for n in names
        ]
        assert a.host["host_name"].to_pylist() == b.host["host_name"].to_pylist()


def test_clusters_of_an_exact_run_cannot_change():
    engine = NativeEngine()
    options = EngineOptions(exact=True)
    state, _ = engine.advance(engine.start(topology(), options), workload({"fragments": LONG}), EPOCH + 1000)
    with pytest.raises(TopologyError, match="step by step"):
        engine.with_topology(state, parse_topology({"clusters": [{"name": "X", "hosts": [host()]}]}))
