"""What ``opendt/engine/base.py`` promises, for every engine; values that can be checked by hand come last.

The OpenDC half needs ``OPENDC_HOME`` (and Java 21); each of its calls starts a Java process.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from engine_conformance_worlds import (
    T0,
    TABLES,
    WORLDS,
    arriving,
    as_bytes,
    assert_same,
    column,
    events,
    host,
    in_windows,
    random_world,
    site,
    total,
    work,
)

from opendt.engine import get_engine
from opendt.engine.base import EngineOptions, simulate
from opendt.engine.compare import compare, compare_folder
from opendt.errors import EngineError, InputError, OpenDTError
from opendt.models.telemetry import CarbonTrace
from opendt.models.workload import Workload
from opendt.settings import OpenDCSettings, Settings


@pytest.fixture(
    scope="module",
    params=["native", pytest.param("opendc", marks=[pytest.mark.opendc, pytest.mark.slow])],
)
def engine(request, tmp_path_factory):
    if request.param == "native":
        return get_engine("native", Settings())
    home = os.environ.get("OPENDC_HOME")
    if not home:
        pytest.skip("OPENDC_HOME is not set: no OpenDC to run")
    return opendc(tmp_path_factory.mktemp("opendc"), home)


def opendc(archive, home, **settings):
    return get_engine("opendc", Settings(opendc=OpenDCSettings(home=Path(home), archive=archive, **settings)))


@pytest.fixture(params=list(WORLDS))
def world(request):
    (topology, workload, carbon), options = WORLDS[request.param]
    return topology, workload, carbon, options


# ---------------------------------------------------------------- promises


@pytest.mark.parametrize("cuts", [[150_000], [30_000, 60_000, 61_234, 200_000]], ids=["one cut", "odd cuts"])
def test_windows_give_what_one_run_gives(engine, world, cuts):
    topology, workload, carbon, options = world
    whole = simulate(engine, topology, workload, options, carbon)
    origin = int(workload.tasks.submission_ms.min())
    parts = in_windows(engine, topology, workload, options, carbon, [origin + c for c in cuts])
    assert_same([whole], parts)


def test_samples_and_events_lie_in_their_window(engine, world):
    topology, workload, carbon, options = world
    origin = int(workload.tasks.submission_ms.min())
    cuts = [origin + 90_000, origin + 180_000]
    parts = in_windows(engine, topology, workload, options, carbon, cuts)
    for result, (start, end) in zip(parts, pairwise([0, *cuts, 2**62]), strict=True):
        for times in (
            result.power_source["timestamp_absolute"].to_numpy(),
            result.service["timestamp_absolute"].to_numpy(),
            result.task_events["time_ms"].to_numpy(),
        ):
            assert len(times) > 0
            assert ((times >= start) & (times < end)).all()


def test_a_run_resumed_from_bytes_gives_the_same(engine, world):
    topology, workload, carbon, options = world
    cut = int(workload.tasks.submission_ms.min()) + 120_000
    state, _ = engine.advance(engine.start(topology, options, carbon), arriving(workload, 0, cut), cut)
    again = engine.state_from_bytes(state.to_bytes())
    assert again.now_ms == state.now_ms == cut
    assert again.to_bytes() == state.to_bytes()
    rest = arriving(workload, cut, None)
    assert_same([engine.advance(state, rest, None)[1]], [engine.advance(again, rest, None)[1]])


def test_advance_leaves_the_state_it_was_given(engine, world):
    topology, workload, carbon, options = world
    cut = int(workload.tasks.submission_ms.min()) + 100_000
    state, _ = engine.advance(engine.start(topology, options, carbon), arriving(workload, 0, cut), cut)
    before, rest = state.to_bytes(), arriving(workload, cut, None)
    first = engine.advance(state, rest, None)[1]
    assert state.to_bytes() == before
    assert_same([first], [engine.advance(state, rest, None)[1]])


def test_the_same_input_gives_the_same_bytes(engine, world, tmp_path):
    topology, workload, carbon, options = world
    if engine.name == "opendc":  # without the cache of results, so that equal ones are OpenDC's doing
        engine = opendc(tmp_path, os.environ["OPENDC_HOME"], cache_mb=0)

    def run():
        state, result = engine.advance(engine.start(topology, options, carbon), workload, None)
        tables = [getattr(result, name) for name in TABLES]
        return state.to_bytes(), [table and as_bytes(table) for table in tables]

    assert run() == run()


def test_an_event_exactly_at_the_cut_belongs_to_the_next_call(engine):
    options = EngineOptions(sample_interval_ms=10_000, host_every=1, task_rows=True)
    workload = work((0, [(30, 1000)]), (0, [(60, 1000)]), (30, [(10, 1000)]))
    first, second = in_windows(engine, site(), workload, options, None, [T0 + 30_000])
    assert events(first, "completed") == {}
    assert (first.tasks_running, first.tasks_waiting) == (2, 0)
    assert max(column(first.power_source, "power_draw")) == 20.0
    assert events(second, "completed") == {1: 30.0, 2: 60.0, 3: 40.0}
    assert events(second, "submitted") == {3: 30.0}
    assert min(column(second.power_source, "power_draw")) == 30.0


def test_a_window_without_work_still_has_samples(engine):
    options = EngineOptions(sample_interval_ms=10_000, host_every=1)
    workload = work((0, [(5, 1000)]), (100, [(5, 1000)]))
    first, second, third = in_windows(engine, site(), workload, options, None, [T0 + 30_000, T0 + 60_000])
    assert list(column(first.power_source, "power_draw")) == [10.0, 20.0]
    assert column(second.power_source, "power_draw") == {30.0: 100.0, 40.0: 100.0, 50.0: 100.0}
    assert (second.tasks_running, second.tasks_waiting, second.energy_j) == (0, 0, pytest.approx(3000.0))
    assert events(third, "completed") == {2: 105.0}


def test_before_the_first_task_there_is_nothing(engine):
    state = engine.start(site(), EngineOptions())
    assert state.now_ms is None
    after, result = engine.advance(state, arriving(work((0, [(1, 1)])), 0, T0), T0)
    assert result.energy_j == 0.0
    assert (len(result.power_source), len(result.service), len(result.task_events)) == (0, 0, 0)
    later, _ = engine.advance(after, work((0, [(1, 1)])), T0 + 1_000)
    assert later.now_ms == T0 + 1_000


def test_energy_and_emission_are_the_sums_of_their_columns(engine, world):
    topology, workload, carbon, options = world
    result = simulate(engine, topology, workload, options, carbon)
    assert result.energy_j == pytest.approx(total(result.power_source, "energy_usage"), rel=1e-6)
    assert result.carbon_g == pytest.approx(total(result.power_source, "carbon_emission"), rel=1e-6)
    assert result.energy_j > 0
    assert result.carbon_g > 0


def test_counts_agree_with_events_and_tables(engine, world):
    topology, workload, carbon, options = world
    result = simulate(engine, topology, workload, options, carbon)
    kinds = result.task_events["event"].to_pylist()
    assert result.tasks_started == kinds.count("scheduled") == result.tasks_completed == kinds.count("completed")
    assert kinds.count("submitted") == int(workload.runnable.sum())
    assert (result.tasks_running, result.tasks_waiting) == (0, 0)
    times = result.task_events["time_ms"].to_numpy()
    assert (np.diff(times) >= 0).all()
    assert result.service["tasks_completed"].to_pylist()[-1] == result.tasks_completed


def test_supply_never_exceeds_capacity(engine, world):
    topology, workload, carbon, options = world
    result = simulate(engine, topology, workload, options, carbon)
    usage, capacity = (result.host[c].to_numpy() for c in ("cpu_usage", "cpu_capacity"))
    assert (usage <= capacity * (1 + 1e-6)).all()


def test_occupancy_prices_a_linear_curve_like_the_engine(engine):
    _, workload, _ = random_world(6)
    linear = {"modelType": "linear", "idlePower": 100, "maxPower": 200}
    topology = site(host(count=2, model=linear), host(cores=8, name="B", model=linear))
    result = simulate(engine, topology, workload, EngineOptions(host_every=1))
    occupancy = result.occupancy
    assert occupancy is not None
    watts = (occupancy.weights * (100 + 100 * np.asarray(occupancy.knots))).sum(axis=(1, 2))
    source = result.power_source
    simulated = dict(zip(source["timestamp_absolute"].to_pylist(), source["power_draw"].to_pylist(), strict=True))
    assert watts == pytest.approx([simulated[int(t)] for t in occupancy.timestamp_ms], rel=1e-5)


def test_tables_have_the_documented_columns(engine):
    from opendt.engine.opendc.outputs import SCHEMAS

    options = EngineOptions(sample_interval_ms=10_000, host_every=1, task_rows=True)
    result = simulate(engine, site(), work((0, [(30, 1000)])), options)
    for name, attribute in (
        ("powerSource", "power_source"),
        ("host", "host"),
        ("service", "service"),
        ("task", "task"),
    ):
        found = getattr(result, attribute).schema
        assert [(f.name, f.type) for f in found] == [(f.name, f.type) for f in SCHEMAS[name]], name


def test_hosts_are_recorded_as_often_as_asked(engine):
    workload = work((0, [(100, 1000)]))
    for every, expected in ((0, []), (1, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]), (3, [30, 60, 90, 100])):
        result = simulate(engine, site(), workload, EngineOptions(sample_interval_ms=10_000, host_every=every))
        assert sorted(column(result.host, "power_draw")) == expected
        assert result.task is None
        energy = result.host["energy_usage"].to_numpy().sum()
        assert energy == pytest.approx(result.energy_j if every else 0.0)


# ---------------------------------------------------------------- topology changes


def test_a_new_power_model_holds_from_the_boundary_on(engine):
    options = EngineOptions(sample_interval_ms=10_000, host_every=1, task_rows=True)
    dear = {"modelType": "linear", "idlePower": 300, "maxPower": 500}
    workload = work((0, [(60, 2000)]))
    cut = T0 + 30_000
    state, first = engine.advance(engine.start(site(), options), arriving(workload, 0, cut), cut)
    state = engine.with_topology(state, site(host(model=dear)))
    assert state.now_ms == cut
    _, second = engine.advance(state, arriving(workload, cut, None), None)
    assert column(first.power_source, "power_draw") == {10.0: 150.0, 20.0: 150.0}
    assert set(column(second.power_source, "power_draw").values()) <= {400.0, 300.0}
    assert column(second.power_source, "power_draw")[40.0] == 400.0
    assert events(second, "completed") == {1: 60.0}
    assert events(second, "scheduled") == {}
    assert second.energy_j == pytest.approx(30 * 400, rel=1e-5)


def test_more_hosts_take_the_queue(engine):
    options = EngineOptions(sample_interval_ms=10_000, host_every=1)
    workload = work((0, [(100, 1000)]), (1, [(100, 1000)]))
    cut = T0 + 20_000
    small, large = site(host(cores=1)), site(host(cores=1, count=2))
    state, first = engine.advance(engine.start(small, options), workload, cut)
    assert (first.tasks_running, first.tasks_waiting) == (1, 1)
    _, second = engine.advance(engine.with_topology(state, large), arriving(workload, T0 + 200_000, None), None)
    assert second.tasks_completed == 2
    assert events(second, "completed")[2] < 200.0


# ---------------------------------------------------------------- errors


def test_a_fragment_that_did_not_arrive_in_time_is_named(engine):
    workload = work((0, [(10, 1000), (10, 1000)]))
    head = Workload(workload.tasks, workload.fragments.take(slice(0, 1)))
    state = engine.start(site(), EngineOptions(sample_interval_ms=1_000))
    after, _ = engine.advance(state, head, T0 + 10_000)
    with pytest.raises(EngineError, match="task 1"):
        engine.advance(state, head, T0 + 15_000)
    nothing = arriving(workload, T0 + 10**9, None)
    with pytest.raises(EngineError, match="task 1"):
        engine.advance(after, nothing, T0 + 15_000)
    rest = Workload(nothing.tasks, workload.fragments.take(slice(1, 2)))
    assert events(engine.advance(after, rest, None)[1], "completed") == {1: 20.0}


@pytest.mark.parametrize("data", [b"", b"something else", b"\x00" * 64])
def test_bytes_of_another_engine_are_refused(engine, data):
    with pytest.raises(EngineError):
        engine.state_from_bytes(data)


def test_a_truncated_state_is_refused(engine):
    state, _ = engine.advance(engine.start(site(), EngineOptions()), work((0, [(10, 1000)])), T0 + 5_000)
    data = state.to_bytes()
    with pytest.raises(EngineError):
        engine.state_from_bytes(data[: len(data) // 2])


def test_an_unknown_policy_is_refused(engine):
    options = EngineOptions(allocation={"type": "prefab", "policyName": "Best"})
    with pytest.raises((InputError, EngineError)):
        simulate(engine, site(), work((0, [(1, 1)])), options)


def test_a_task_that_fits_no_host_at_all_never_gives_numbers(engine):
    topology = site(host(cores=8, memory=10), host(cores=1, memory=100_000))
    workload = work((0, [(10, 100)]), cpu_count=np.array([8], np.int32), mem_capacity=np.array([50_000_000]))
    with pytest.raises(OpenDTError, match="1"):
        simulate(engine, topology, workload, EngineOptions())


# ---------------------------------------------------------------- values by hand


def test_one_task_on_one_host(engine):
    """The worked example of SEMANTICS 5.5."""
    options = EngineOptions(sample_interval_ms=60_000, host_every=1, task_rows=True)
    result = simulate(engine, site(), work((0, [(100, 1500), (50, 500), (150, 3000)])), options)
    rows = [
        tuple(r[c] for c in ("timestamp", "cpu_usage", "power_draw", "energy_usage")) for r in result.host.to_pylist()
    ]
    assert rows == [
        (60_000, 1500, 137.5, 8250), (120_000, 500, 112.5, 7750), (180_000, 3000, 175, 8625),
        (240_000, 3000, 175, 10500), (300_000, 3000, 175, 10500), (300_000, 0, 100, 0),
    ]  # fmt: skip
    last = result.task.to_pylist()[-1]
    assert (last["task_state"], last["finish_time"], last["schedule_time"]) == ("COMPLETED", 300_000, 0)
    assert result.energy_j == pytest.approx(45_625.0)
    rows = result.task_events.to_pylist()
    assert [(r["event"], r["time_ms"] - T0, r["host_name"], r["cluster_name"]) for r in rows][1:] == [
        ("scheduled", 0, "H", "C"), ("completed", 300_000, "H", "C"),
    ]  # fmt: skip


def test_work_is_conserved_under_perfect_scaling(engine):
    """The worked example of SEMANTICS 5.3."""
    workload = work((0, [(300, 3000)]), (30, [(300, 2000)]))
    result = simulate(engine, site(), workload, EngineOptions(scaling="Perfect"))
    assert events(result, "completed") == {1: 400.0, 2: 330.0}
    kept = simulate(engine, site(), workload, EngineOptions())
    assert events(kept, "completed") == {1: 300.0, 2: 330.0}


def test_overload_is_shared_fairly(engine):
    """The example of SEMANTICS 5.7: 4000 MHz for demands of 500, 2000 and 3000."""
    workload = work((0, [(100, 500)]), (0, [(100, 2000)]), (0, [(100, 3000)]))
    result = simulate(engine, site(), workload, EngineOptions(sample_interval_ms=50_000, host_every=1, task_rows=True))
    assert [column(result.task, "cpu_usage", task)[50.0] for task in (1, 2, 3)] == [500, 1750, 1750]
    assert column(result.host, "cpu_demand")[50.0] == 5500
    assert column(result.power_source, "power_draw")[50.0] == 200


def test_the_scheduler_runs_on_whole_seconds(engine):
    """The example of SEMANTICS 7.1: two cores, tasks of 1.5 s at 0, 0.65 and 1 s."""
    workload = work((0, [(1.5, 100)]), (0.65, [(1.5, 100)]), (1, [(1.5, 100)]))
    result = simulate(engine, site(host(cores=2)), workload, EngineOptions(sample_interval_ms=1_000))
    assert events(result, "scheduled") == {1: 0.0, 2: 1.0, 3: 2.0}


def test_the_head_of_the_queue_blocks(engine):
    workload = work((0, [(10, 100)]), (1, [(10, 100)]), (2, [(10, 100)]), cpu_count=np.array([1, 4, 1], np.int32))
    result = simulate(engine, site(), workload, EngineOptions(sample_interval_ms=5_000))
    assert events(result, "scheduled") == {1: 0.0, 2: 10.0, 3: 20.0}


def test_the_host_with_most_free_memory_wins_and_the_first_one_ties(engine):
    topology = site(host(memory=100, name="A"), host(memory=200, name="B"), host(memory=200, name="C"))
    workload = work(*[(0, [(10, 100)])] * 4, mem_capacity=np.array([60_000, 60_000, 60_499, 60_500]))
    result = simulate(engine, topology, workload, EngineOptions(sample_interval_ms=5_000))
    hosts = {r["task_id"]: r["host_name"] for r in result.task_events.to_pylist() if r["event"] == "scheduled"}
    assert hosts == {1: "B", 2: "C", 3: "B", 4: "C"}


def test_tasks_larger_than_any_host_are_terminated(engine):
    workload = work((0, [(10, 100)]), (1, [(10, 100)]), cpu_count=np.array([5, 1], np.int32))
    result = simulate(engine, site(), workload, EngineOptions(sample_interval_ms=5_000))
    assert events(result, "terminated") == {1: 0.0}
    assert (result.tasks_terminated, result.tasks_completed, result.tasks_started) == (1, 1, 1)


def test_tasks_without_fragments_never_count(engine):
    result = simulate(engine, site(), work((0, []), (5, [(10, 100)]), (7, [])), EngineOptions(sample_interval_ms=5_000))
    assert result.task_events["task_id"].to_pylist() == [2, 2, 2]
    assert result.power_source["timestamp_absolute"].to_pylist()[0] == T0 + 10_000
    assert max(result.service["tasks_total"].to_pylist()) == 1


def test_a_task_that_asks_for_nothing_ends_at_once(engine):
    result = simulate(engine, site(), work((0, [(100, 0)]), (0, [(10, 100)])), EngineOptions(sample_interval_ms=5_000))
    assert events(result, "completed") == {1: 0.0, 2: 10.0}


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        ({"modelType": "constant", "power": 321}, 321),
        ({"modelType": "sqrt"}, 150),
        ({"modelType": "linear"}, 125),
        ({"modelType": "square"}, 106.25),
        ({"modelType": "cubic"}, 101.5625),
        ({"modelType": "mse", "calibrationFactor": 1.4}, 135.641266),
        ({"modelType": "mse", "calibrationFactor": 4}, 149.609375),
        ({"modelType": "asymptotic", "asymUtil": 0.3}, 103.318764),
        ({"modelType": "asymptotic", "asymUtil": 0.3, "dvfs": False}, 140.770096),
    ],
    ids=lambda v: v["modelType"] if isinstance(v, dict) else None,
)
def test_power_at_a_quarter_of_the_capacity(engine, model, watts):
    """Check values of SEMANTICS 8.1, 100 to 200 W."""
    topology = site(
        host(model={"idlePower": 100, "maxPower": 500 if model["modelType"] == "constant" else 200, **model})
    )
    result = simulate(engine, topology, work((0, [(20, 1000)])), EngineOptions(sample_interval_ms=10_000))
    assert column(result.power_source, "power_draw")[10.0] == pytest.approx(watts, rel=1e-6)


def test_emission_follows_the_carbon_steps(engine):
    """100 W idle plus half load is 150 W: 20 s at 100 g/kWh, then 40 s at 300."""
    carbon = CarbonTrace(np.array([T0 - 5_000, T0 + 20_000]), np.array([100.0, 300.0]))
    topology = site(powerSource={"carbonTracePath": "carbon.parquet"})
    result = simulate(engine, topology, work((0, [(60, 2000)])), EngineOptions(sample_interval_ms=10_000), carbon)
    assert result.carbon_g == pytest.approx(150 * (20 * 100 + 40 * 300) / 3.6e6, rel=1e-6)
    assert column(result.power_source, "carbon_intensity")[10.0] == 100.0
    assert column(result.power_source, "carbon_intensity")[50.0] == 300.0


def test_ids_beyond_32_bits_come_back(engine):
    tasks = work((0, [(10, 100)]))
    large = 2**40 + 5
    ids = np.array([large], np.int64)
    moved = Workload(replace(tasks.tasks, task_id=ids, name=np.array(["job-a"])), replace(tasks.fragments, task_id=ids))
    result = simulate(engine, site(), moved, EngineOptions(sample_interval_ms=5_000, task_rows=True))
    assert set(result.task_events["task_id"].to_pylist()) == {large}
    assert set(result.task_events["task_name"].to_pylist()) == {"job-a"}
    assert set(result.task["task_name"].to_pylist()) == {"job-a"}


def test_recorded_opendc_runs_are_met(engine, golden):
    found = compare(engine, golden)
    assert [(o.name, o.why) for o in found.failed] == []
    assert len(found.outcomes) == 39


def test_recorded_opendc_runs_on_real_traces_are_met(engine, shared_golden):
    for name in ("surf_24h", "bitbrains_small"):
        assert compare_folder(engine, shared_golden / name).why == []
