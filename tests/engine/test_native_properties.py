"""Thousands of small random worlds: the native engine against the naive one, against itself, against physics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_naive import Naive
from engine_worlds import DEEP, EPOCH, MANY, cut, host, joined, patience, permuted, topology, workload
from hypothesis import assume, given
from hypothesis import strategies as st

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native.engine import NativeEngine
from opendt.errors import EngineError
from opendt.models.telemetry import CarbonTrace

POLICIES = ("Mem", "MemInv", "CoreMem", "ActiveServers", "ActiveServersInv", "ProvisionedCores", "ProvisionedCoresInv")
pytestmark = [pytest.mark.timeout(0)] if DEEP else []

curves = st.sampled_from(
    [
        {"modelType": "linear", "idlePower": 100.0, "maxPower": 200.0},
        {"modelType": "mse", "idlePower": 25.0, "maxPower": 174.0, "calibrationFactor": 4.0},
        {"modelType": "sqrt", "idlePower": 50.0, "maxPower": 150.0},
        {"modelType": "active", "idlePower": 50.0, "maxPower": 180.0, "stepPower": 20.0, "quadraticPower": 10.0},
        {"modelType": "piecewise", "idlePower": 50.0, "maxPower": 180.0, "levels": [50.0, 90.0, 150.0, 180.0]},
    ]
)
hosts = st.builds(
    lambda count, cores, speed, memory, power: host(count, cores, speed, memory, power=power),
    st.integers(1, 3), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1000.0, 2100.0]), st.sampled_from([2, 5, 50]),
    curves,
)  # fmt: skip
tasks = st.fixed_dictionaries(
    {
        "at": st.sampled_from([0, 0, 1, 500, 999, 1000, 1001, 2000, 3000, 7000, 12_345]),
        "cpu": st.sampled_from([0, 1, 1, 2, 4]),
        "mem": st.sampled_from([499, 500, 1000, 1499, 1500, 3000]),
        "fragments": st.lists(
            st.tuples(
                st.sampled_from([0, 1, 333, 1000, 2000, 5000]),
                st.sampled_from([0.0, 0.0, 0.1, 0.7, 250.0, 1000.0, 2500.5]),
            ),
            max_size=6,
        ),
    }
)
worlds = st.tuples(
    st.lists(hosts, min_size=1, max_size=3),
    st.lists(tasks, min_size=1, max_size=14),
    st.sampled_from([700, 1000, 5000]),
)
carbons = st.none() | st.builds(
    lambda start, steps: CarbonTrace(
        EPOCH + start + np.cumsum(np.array([gap for gap, _ in steps], np.int64)), np.array([v for _, v in steps])
    ),
    st.sampled_from([-5000, 0, 1500]),
    st.lists(st.tuples(st.sampled_from([500, 1000, 2500]), st.floats(0, 500)), min_size=1, max_size=6),
)


def options_for(interval: int, policy: str = "Mem", **more) -> EngineOptions:
    allocation = {"type": "prefab", "policyName": policy}
    return EngineOptions(
        sample_interval_ms=interval, host_every=1, task_rows=True, allocation=allocation, occupancy_knots=9, **more
    )


def built(world):
    types, listed, interval = world
    whole = workload(*listed)
    assume(len(whole.fragments) > 0)
    return topology(*types), whole, interval


def simulated(site, whole, options, carbon=None):
    """The result, None when the run can never end."""
    try:
        with patience():
            return simulate(NativeEngine(), site, whole, options, carbon)
    except EngineError as error:
        if error.reason != "stuck":
            raise
        return None


@MANY
@given(worlds, st.sampled_from(POLICIES), carbons)
def test_events_samples_and_energy_are_those_of_the_naive_engine(world, policy, carbon):
    site, whole, interval = built(world)
    expected = Naive(site, whole, interval, policy, carbon).run()
    result = simulated(site, whole, options_for(interval, policy), carbon)
    if result is None or expected.stuck:
        assert (result is None) == expected.stuck
        return
    names = np.unique(result.host["host_name"].to_numpy(zero_copy_only=False)[: len(site_hosts(site))])
    assert len(names) == len(site_hosts(site))
    order = result.host["host_name"].to_pylist()[: len(names)]
    events = [
        (row["task_id"], row["event"], row["time_ms"] - EPOCH - first(whole), row["host_name"])
        for row in result.task_events.to_pylist()
    ]
    assert sorted(events, key=str) == sorted(
        ((t, e, at, None if h is None else order[h]) for t, e, at, h in expected.events), key=str
    )
    rows = result.power_source.to_pydict()
    assert rows["timestamp"] == [s[0] for s in expected.samples]
    np.testing.assert_allclose(rows["power_draw"], [s[1] for s in expected.samples], rtol=2e-7)
    np.testing.assert_allclose(rows["energy_usage"], [s[2] for s in expected.samples], rtol=2e-7, atol=1e-6)
    service = result.service.to_pydict()
    columns = ("tasks_total", "tasks_pending", "tasks_active", "tasks_completed", "tasks_terminated")
    assert [tuple(service[c][i] for c in columns) for i in range(len(expected.counts))] == expected.counts
    assert result.energy_j == pytest.approx(expected.energy_j, rel=1e-9, abs=1e-9)
    assert result.carbon_g == pytest.approx(expected.carbon_g, rel=1e-9, abs=1e-9)


def first(whole) -> int:
    return int(whole.tasks.submission_ms[whole.tasks.fragment_count > 0].min()) - EPOCH


def site_hosts(site) -> list:
    return [h for c in site.clusters for h in c.hosts for _ in range(h.count)]


@MANY
@given(worlds, carbons, st.sampled_from(POLICIES))
def test_closed_form_gives_what_the_exact_procedure_gives(world, carbon, policy):
    """Up to the last sample, whose order within the instant only the exact procedure knows, and quirk 5.6."""
    site, whole, interval = built(world)
    assume(not any(m.cpuPowerModel.modelType in ("active", "piecewise") for c in site.clusters for m in c.hosts))
    fast = simulated(site, whole, options_for(interval, policy), carbon)
    exact = simulated(site, whole, options_for(interval, policy, exact=True), carbon)
    if fast is None or exact is None:
        assert fast is exact
        return
    assert (
        fast.task_events.sort_by([("task_id", "ascending"), ("time_ms", "ascending")])
        .drop(["task_name"])
        .equals(exact.task_events.sort_by([("task_id", "ascending"), ("time_ms", "ascending")]).drop(["task_name"]))
    )
    assert fast.service.equals(exact.service)
    before = fast.power_source["timestamp"].to_numpy() < fast.power_source["timestamp"].to_numpy()[-1]
    for name in ("power_draw", "energy_usage", "carbon_intensity", "carbon_emission"):
        a, b = (r.power_source[name].to_numpy()[before] for r in (fast, exact))
        np.testing.assert_allclose(a, b, rtol=3e-7, atol=1e-6)
    for name in ("cpu_demand", "power_draw", "energy_usage", "tasks_running", "uptime", "embodied_carbon"):
        hosts_before = fast.host["timestamp"].to_numpy() < fast.power_source["timestamp"].to_numpy()[-1]
        a, b = (r.host[name].to_numpy()[hosts_before] for r in (fast, exact))
        np.testing.assert_allclose(a, b, rtol=3e-7, atol=1e-6)
    assert fast.energy_j == pytest.approx(exact.energy_j, rel=1e-7, abs=1e-9)


@MANY
@given(
    worlds,
    carbons,
    st.lists(st.integers(1, 30_000), max_size=6),
    st.booleans(),
    st.sampled_from(["closed", "exact", "Perfect"]),
)
def test_any_windows_and_any_restart_give_the_whole_run(world, carbon, edges, through_bytes, way):
    site, whole, interval = built(world)
    options = options_for(interval)
    if way == "exact":
        options = replace(options, exact=True)
    if way == "Perfect":
        options = replace(options, scaling="Perfect")
    expected = simulated(site, whole, options, carbon)
    assume(expected is not None)
    last = EPOCH + first(whole) + int(expected.power_source["timestamp"].to_numpy().max(initial=0))
    limits = sorted({EPOCH + first(whole) + e for e in edges if EPOCH + first(whole) + e < last})
    engine = NativeEngine()
    state = engine.start(site, options, carbon)
    results = []
    # Under Perfect, fragments without usage are skipped: the next is needed before its time in the trace.
    for part, until in zip(cut(whole, limits, at_once=way == "Perfect"), [*limits, None], strict=True):
        with patience():
            state, result = engine.advance(state, part, until)
        if through_bytes:
            data = state.to_bytes()
            state = engine.state_from_bytes(data)
            assert state.to_bytes() == data
        results.append(result)
    for name, rows in joined(results).items():
        assert rows.equals(joined([expected])[name]), name
    occupancy = [r.occupancy for r in results if r.occupancy is not None]
    np.testing.assert_array_equal(np.concatenate([o.weights for o in occupancy]), expected.occupancy.weights)
    np.testing.assert_array_equal(np.concatenate([o.mean_weights for o in occupancy]), expected.occupancy.mean_weights)
    assert sum(r.energy_j for r in results) == pytest.approx(expected.energy_j, rel=1e-12, abs=1e-9)


@MANY
@given(worlds)
def test_supply_stays_below_capacity_and_energy_is_the_integral_of_power(world):
    site, whole, interval = built(world)
    result = simulated(site, whole, options_for(interval))
    assume(result is not None)
    rows = result.host
    assert (rows["cpu_usage"].to_numpy() <= rows["cpu_capacity"].to_numpy() * (1 + 1e-6)).all()
    assert result.power_source["energy_usage"].to_numpy().astype(float).sum() == pytest.approx(
        result.energy_j, rel=1e-5, abs=1e-3
    )
    assert rows["energy_usage"].to_numpy().astype(float).sum() == pytest.approx(result.energy_j, rel=1e-5, abs=1e-3)
    tasks = result.task
    running = tasks.filter(np.array(tasks["task_state"].to_pylist()) == "RUNNING")
    granted: dict[tuple[int, str], float] = {}
    for row in running.to_pylist():
        key = (row["timestamp"], row["host_name"])
        granted[key] = granted.get(key, 0.0) + row["cpu_usage"]
    capacity = dict(zip(rows["host_name"].to_pylist(), rows["cpu_capacity"].to_pylist(), strict=True))
    assert all(sum_ <= capacity[name] * (1 + 1e-6) for (_, name), sum_ in granted.items())


@MANY
@given(worlds)
def test_occupancy_prices_to_the_power_of_curves_linear_between_knots(world):
    types, listed, interval = world
    linear = {"modelType": "linear", "idlePower": 100.0, "maxPower": 200.0}
    site, whole, interval = built(([{**t, "cpuPowerModel": linear} for t in types], listed, interval))
    result = simulated(site, whole, options_for(interval))
    assume(result is not None)
    curve = 100.0 + 100.0 * result.occupancy.knots
    regular = np.diff(result.power_source["timestamp"].to_numpy(), prepend=0) > 0
    regular[-2:] = False  # the final sample shows the instant before the end
    np.testing.assert_allclose(
        (result.occupancy.weights @ curve).sum(axis=1)[regular], result.power_source["power_draw"].to_numpy()[regular],
        rtol=1e-5,
    )  # fmt: skip
    spans = np.diff(result.power_source["timestamp"].to_numpy(), prepend=0) / 1000
    np.testing.assert_allclose(
        (result.occupancy.mean_weights @ curve).sum(axis=1) * spans, result.power_source["energy_usage"].to_numpy(),
        rtol=1e-5, atol=1e-3,
    )  # fmt: skip


@MANY
@given(worlds, st.randoms(use_true_random=False))
def test_rows_in_another_order_change_nothing_unless_times_are_equal(world, random):
    """Tasks are taken by submission time; only equal times keep the order of the file (SEMANTICS 4.3)."""
    site, whole, interval = built(world)
    order = list(range(len(whole.tasks)))
    random.shuffle(order)
    by_time = sorted(range(len(order)), key=lambda i: int(whole.tasks.submission_ms[i]))  # stable: the tie rule
    shuffled = sorted(order, key=lambda i: by_time.index(i)) if random.random() < 0.5 else by_time
    a = simulated(site, whole, options_for(interval))
    b = simulated(site, permuted(whole, shuffled), options_for(interval))
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        assert joined([a])["task_events"].equals(joined([b])["task_events"])


def test_same_input_same_bytes():
    site = topology(host(3, 4, 1000.0, 50))
    whole = workload(*({"at": 700 * i, "fragments": [(1000 + i, 333.3 * i), (500, 0.1)]} for i in range(20)))
    first_run, second_run = (simulate(NativeEngine(), site, whole, options_for(1000)) for _ in range(2))
    for name, table in joined([first_run]).items():
        assert table.equals(joined([second_run])[name])
