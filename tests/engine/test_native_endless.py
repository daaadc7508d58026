"""Inputs on which OpenDC never ends (SEMANTICS 11): the native engine stops and says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_worlds import DEEP, EPOCH, MANY, host, patience, topology, workload
from hypothesis import assume, given
from hypothesis import strategies as st

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native.engine import NativeEngine
from opendt.engine.native.exact import flow, world
from opendt.engine.native.exact import workload as execution
from opendt.errors import EngineError
from opendt.models.telemetry import CarbonTrace

MSE = {"modelType": "mse", "idlePower": 25.0, "maxPower": 174.0, "calibrationFactor": 4.0}
pytestmark = [pytest.mark.timeout(0)] if DEEP else []
MEMORIZING = {"type": "prefab", "policyName": "TaskNumMemorizing"}
DAY_MS = 24 * 3_600_000


def fails(site, whole, *, reason="stuck", carbon=None, **options) -> str:
    """The message of the error that a simulation ends with."""
    options = {"sample_interval_ms": 1000, **options}
    with pytest.raises(EngineError) as raised:
        simulate(NativeEngine(), site, whole, EngineOptions(**options), carbon)
    assert raised.value.facts["reason"] == reason
    return str(raised.value)


@pytest.mark.parametrize("exact", [False, True])
def test_cores_and_memory_on_different_hosts_are_named(exact):
    site = topology(host(cores=8, memory=2), host(cores=2, memory=50))
    said = fails(site, workload({"cpu": 4, "mem": 9000}), exact=exact)
    assert "task 1 needs 4 cores and 9 MiB, which no single host offers" in said
    assert "hosts with the cores have up to 2 MiB, hosts with the memory up to 2 cores" in said
    assert "lower the task's cpu_count" in said


@pytest.mark.parametrize("exact", [False, True])
def test_a_parent_that_was_terminated_is_named(exact):
    whole = workload({"cpu": 64}, {"parents": [1]})
    said = fails(topology(host(cores=4)), whole, exact=exact)
    assert "task 2 waits for a parent that never completes (1 is " in said
    assert "terminated" in said.lower()


@pytest.mark.parametrize("exact", [False, True])
def test_filters_that_no_host_passes_are_named(exact):
    allocation = {"type": "filter", "filters": [{"type": "Compute"}, {"type": "InstanceCount", "limit": 0}]}
    said = fails(topology(host()), workload({}), exact=exact, allocation=allocation)
    assert "task 1 (1 cores, 1 MiB) passes the filters of the allocation policy (InstanceCount 0) on no host" in said


def test_a_task_passed_over_by_a_policy_with_memory_is_named():
    """The policy's lower bound has passed the list in which the only host with four cores stands."""
    site = topology(host(2, 2, memory=10, name="A"), host(1, 4, memory=50, name="B"))
    whole = workload(
        {"at": 500, "cpu": 4}, {"at": 500}, {"at": 1000}, {"fragments": [(3000, 500.0)]},
        {"at": 500, "cpu": 2, "fragments": [(3000, 500.0)]}, {"fragments": [(3000, 500.0)]},
    )  # fmt: skip
    said = fails(site, whole, allocation=MEMORIZING)
    assert "policy TaskNumMemorizing passed over task 1" in said
    assert "Use policy Mem" in said


def test_a_task_too_large_for_every_host_blocks_a_policy_with_memory():
    said = fails(topology(host(cores=2)), workload({"cpu": 2}, {"at": 100, "cpu": 64}), allocation=MEMORIZING)
    assert "task 2 needs 64 cores and 1 MiB, which no single host offers (no host has more than 2 cores)" in said
    said = fails(topology(host(memory=7)), workload({}, {"at": 100, "mem": 8000}), allocation=MEMORIZING)
    assert "(no host has more than 7 MiB)" in said


def test_a_deferrable_task_without_a_time_of_low_carbon_is_named():
    whole = workload({})
    late = replace(whole.tasks, deferrable=np.ones(1, np.bool_), deadline_ms=np.array([EPOCH + 30 * DAY_MS]))
    carbon = CarbonTrace(EPOCH + np.arange(3) * 5000, np.array([100.0, 200.0, 300.0]))
    timeshift = {"type": "timeshift", "memorize": False, "forecast": False, "filters": [{"type": "Compute"}]}
    site = topology(host(), powerSource={"carbonTracePath": "carbon.parquet"})
    said = fails(site, replace(whole, tasks=late), allocation=timeshift, carbon=carbon)
    assert "policy timeshift puts task 1 off until the carbon intensity is low, but the carbon trace ends" in said
    said = fails(topology(host()), replace(whole, tasks=late), allocation=timeshift)
    assert "there is no carbon trace" in said


def test_a_task_that_is_granted_nothing_under_perfect_scaling_is_named():
    """Found by the property tests: OpenDC samples this world for ever (its host keeps a supply of 0, quirk 5.6)."""
    whole = workload({"fragments": [(0, 2500.5), (1000, 0.1)]})
    said = fails(topology(host(2, 2, 1000.0, 5, power=MSE)), whole, scaling="Perfect")
    assert "task 1 runs on host H and asks for 0.1 MHz, but is granted nothing" in said
    assert "Use scaling NoDelay" in said


def test_a_window_in_which_nothing_can_happen_ends_since_more_may_come():
    site = topology(host(2, 2, 1000.0, 5, power=MSE))
    engine = NativeEngine()
    state = engine.start(site, EngineOptions(sample_interval_ms=1000, scaling="Perfect"))
    state, result = engine.advance(state, workload({"fragments": [(0, 2500.5), (1000, 0.1)]}), EPOCH + 60_000)
    assert result.tasks_running == 1
    with pytest.raises(EngineError, match="never end"):
        engine.advance(state, workload(), None)


def test_starving_tasks_are_given_up_even_if_timers_go_on(monkeypatch):
    """A host that asks again at intervals keeps the agenda from running empty."""
    monkeypatch.setattr(world, "STARVED_SAMPLES", 50)
    checkpoints = {"checkpointInterval": 10**12, "checkpointDuration": 1}
    whole = workload({"fragments": [(0, 2500.5), (1000, 0.1)]})
    site = topology(host(2, 2, 1000.0, 5, power=MSE))
    assert "granted nothing" in fails(site, whole, scaling="Perfect", checkpoints=checkpoints)


def test_checkpoints_that_leave_no_time_to_work_are_named(monkeypatch):
    """Found by the property tests: a stale supply of 1.4 MHz, checkpoints of 10 ms at 2500.5 MHz; OpenDC never ends."""
    monkeypatch.setattr(execution, "MOST_AHEAD", 300)
    checkpoints = {"checkpointInterval": 1500, "checkpointDuration": 10}
    whole = workload(
        {"fragments": [(2000, 0.7)]}, {"at": 1, "fragments": [(0, 0.1), (2000, 2500.5)]},
        {"fragments": [(333, 0.7), (1, 250.0), (333, 0.1)]},
    )  # fmt: skip
    anywhere = {"type": "filter", "filters": [{"type": "Compute"}]}
    site = topology(host(1, 2, 1000.0, 50, power=MSE))
    said = fails(site, whole, scaling="Perfect", checkpoints=checkpoints, allocation=anywhere)
    assert "task 2 on host H saves its state faster than it works" in said


def test_an_instant_that_never_settles_is_given_up(monkeypatch):
    monkeypatch.setattr(flow, "ROUNDS", 100)
    whole = workload({"fragments": [(0, 500.0)] * 1000 + [(1000, 500.0)]})
    said = fails(topology(host()), whole, reason="does not settle", exact=True)
    assert "time does not go on at 0 ms of simulated time" in said


def test_a_timer_that_is_due_again_and_again_is_given_up(monkeypatch):
    """Found by the property tests: remaining work and supply of opposite sign under Perfect scaling."""
    monkeypatch.setattr(flow, "ROUNDS", 10_000)
    whole = workload({"at": 1, "fragments": [(0, 2500.5), (333, 0.1)]}, {"fragments": [(1, 2500.5), (1, 0.7)]})
    said = fails(
        topology(host(2, 2, 1000.0, 2, power=MSE)), whole, reason="does not settle", scaling="Perfect",
        checkpoints={"checkpointInterval": 1500, "checkpointDuration": 10},
        allocation={"type": "filter", "filters": [{"type": "Compute"}]},
    )  # fmt: skip
    assert "time does not go on at 1000 ms of simulated time: a timer is due again and again" in said


policies = st.sampled_from(
    [
        *({"type": "prefab", "policyName": name} for name in ("Mem", "Random", "TaskNumMemorizing", "Timeshift")),
        {"type": "filter", "filters": [{"type": "Compute"}]},
        {
            "type": "filter",
            "filters": [
                {"type": "Compute"},
                {"type": "VCpu", "allocationRatio": 2.0},
                {"type": "InstanceCount", "limit": 2},
            ],
            "weighers": [{"type": "InstanceCount", "multiplier": -1.0}, {"type": "Ram"}],
            "subsetSize": 2,
        },
        {"type": "timeshift", "memorize": True, "forecast": False},
        {"type": "timeshift", "memorize": False, "forecast": True, "forecastSize": 2},
    ]
)
sharing = st.sampled_from(["MAX_MIN_FAIRNESS", "EQUAL_SHARE", "FIRST_FIT", "FIXED_SHARE", "BEST_EFFORT"])
hosts = st.builds(
    lambda count, cores, memory, power, policy: host(
        count, cores, 1000.0, memory, power=power,
        cpuDistributionPolicy={"type": policy, **({"shareRatio": 0.5} if policy == "FIXED_SHARE" else {})},
    ),
    st.integers(1, 2), st.sampled_from([1, 2, 4]), st.sampled_from([2, 5, 50]),
    st.sampled_from([MSE, {"modelType": "linear", "idlePower": 100.0, "maxPower": 200.0}]), sharing,
)  # fmt: skip
tasks = st.fixed_dictionaries(
    {
        "at": st.sampled_from([0, 0, 1, 999, 1000, 3000]),
        "cpu": st.sampled_from([0, 1, 2, 4]),
        "mem": st.sampled_from([499, 1000, 3000]),
        "fragments": st.lists(
            st.tuples(st.sampled_from([0, 1, 333, 2000]), st.sampled_from([0.0, 0.1, 0.7, 250.0, 2500.5])), max_size=5
        ),
    }
)
checkpoints = st.sampled_from([None, {"checkpointInterval": 1500, "checkpointDuration": 10}])


@MANY
@given(
    st.lists(hosts, min_size=1, max_size=3), st.lists(tasks, min_size=1, max_size=8), policies,
    st.sampled_from(["NoDelay", "Perfect"]), st.booleans(), st.booleans(), checkpoints,
)  # fmt: skip
def test_every_world_ends_or_says_why_not(types, listed, allocation, scaling, deferrable, carbon, saving):
    whole = workload(*listed)
    assume(len(whole.fragments) > 0)
    n = len(whole.tasks)
    tasks = replace(
        whole.tasks, deferrable=np.full(n, deferrable), duration_ms=np.full(n, 1000),
        deadline_ms=np.full(n, EPOCH + 60_000),
    )  # fmt: skip
    options = EngineOptions(sample_interval_ms=1000, allocation=allocation, scaling=scaling, checkpoints=saving)
    steps = CarbonTrace(EPOCH + np.arange(6) * 2500, np.array([300.0, 100.0, 200.0, 50.0, 400.0, 10.0]))
    site = topology(*types, **({"powerSource": {"carbonTracePath": "carbon.parquet"}} if carbon else {}))
    result = error = None
    try:
        with patience():
            result = simulate(NativeEngine(), site, replace(whole, tasks=tasks), options, steps if carbon else None)
    except EngineError as raised:
        error = raised
    if result is None:
        assert error is not None
        assert error.facts["reason"] in ("stuck", "does not settle")
    else:
        assert result.tasks_completed + result.tasks_terminated == int((whole.tasks.fragment_count > 0).sum())
