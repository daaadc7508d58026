"""Search: the space, its limits, the samplers, the rules' path, budgets and the cache."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from optimize_builders import ToyEngine, outcome, problem, topology, workload

from opendt.errors import EngineError, InputError
from opendt.optimize.changes import apply_changes
from opendt.optimize.evaluate import Evaluator
from opendt.optimize.limits import make_limits
from opendt.optimize.search import search
from opendt.optimize.space import make_space
from opendt.optimize.strategies import by_rules, idle, run_strategy
from opendt.optimize.trials import Trials, make_problem
from opendt.settings import OptimizeSettings, SloSettings

ALL = ["hosts", "cores", "speed", "power_cap", "allocation"]


def _space(world=None, peak=40, **settings):
    settings = OptimizeSettings(**({"vary": ALL} | settings))
    world = world or topology(10, 4)
    limits = make_limits(world, outcome(peak_cores=peak), workload(cores=8), settings, SloSettings())
    return make_space(world, limits, settings)


@given(seed=st.integers(0, 2**32), peak=st.integers(0, 400), most=st.one_of(st.none(), st.integers(14, 20)))
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_point_is_a_valid_topology_within_the_limits(seed, peak, most):
    space = _space(peak=min(peak, 224), max_hosts=most, max_growth_ratio=1.5)
    changes, _ = space.changes(space.random(np.random.default_rng(seed)))
    assert space.limits.broken(apply_changes(space.base, changes)) == []


def test_cores_never_go_below_the_largest_task():
    cores = next(d for d in _space().dimensions if d.kind == "cores")
    assert (cores.values[0], cores.values[-1]) == (8, 16)


def test_fixed_host_types_have_no_dimension():
    space = _space(fixed_hosts=["H01"])
    assert {d.host for d in space.dimensions} == {"clusters[0].hosts[1]", ""}


def test_only_what_may_vary_has_a_dimension():
    assert [d.kind for d in _space(topology(10), vary=["hosts"]).dimensions] == ["hosts"]


def test_the_first_point_has_just_the_hosts_the_peak_needs():
    space = _space(topology(10), peak=40, vary=["hosts"])
    assert space.changes(space.start(40)[0])[0] == {"clusters[0].hosts[0].count": 3}


def test_a_slower_core_draws_less_and_a_cap_limits_the_host():
    space = _space(topology(10), vary=["speed", "power_cap"])
    point = {"clusters[0].hosts[0].speed": 1100.0, "clusters[0].hosts[0].power_cap": 0.75}
    index = tuple(d.values.index(point[d.name]) for d in space.dimensions)
    host = apply_changes(space.base, space.changes(index)[0]).clusters[0].hosts[0]
    # dynamic 100 W * (1100/2100)^2 = 27.4 W, capped at 75 % of 127.4 W: 95.6 W is below idle, so it cannot bind there
    assert host.cpuPowerModel.maxPower <= 200
    assert host.cpu.coreSpeed <= 1100.0


def test_a_target_that_bounds_waiting_replaces_the_capacity_for_the_peak():
    def least(slo, **settings):
        world = topology(10)
        return make_limits(world, outcome(peak_cores=40), workload(), OptimizeSettings(**settings), slo).min_cores

    assert least(SloSettings(energy_kwh=1)) == 40
    assert least(SloSettings(runtime_h=1)) == 0
    assert least(SloSettings(queue_delay_s=1)) == 0
    assert least(SloSettings(runtime_h=1), peak_headroom_ratio=1.5) == 60


@pytest.mark.parametrize("name", ["random", "bayesian"])
def test_search_finds_what_the_peak_needs_and_saves_energy(name):
    found, trials = search(name, problem(slo=SloSettings(energy_kwh=3), vary=["hosts"]), 10)
    assert found.topology.host_count == 3
    assert found.evaluation.saving_kwh > 0
    assert len(trials.tried) <= 10
    assert "3 hosts instead of 10" in found.reasons


@pytest.mark.parametrize("name", ["random", "bayesian"])
def test_the_same_seed_gives_the_same_search(name):
    def run():
        found, trials = search(name, problem(vary=ALL, max_growth_ratio=1.2), 12)
        return found.changes, [t.changes for t in trials.tried]

    assert run() == run()


def test_with_everything_fixed_there_is_nothing_to_search():
    found, trials = search("random", problem(fixed_hosts=["H01"]), 5)
    assert (found.changes, trials.tried) == ({}, [])
    assert "nothing to vary" in found.reasons[0]


def _earlier(changes, allocation=None):
    return {"changes": changes, "allocation": allocation, "score": -1.0}


def test_a_search_tries_the_best_earlier_proposals_first():
    count = "clusters[0].hosts[0].count"
    history = (
        _earlier({count: 5}), _earlier({count: 6}, {"type": "prefab", "policyName": "MemInv"}),
        _earlier({"clusters[0].hosts[0].cpu.coreSpeed": 1800}), _earlier({count: 1}), _earlier({count: 5}),
        _earlier({"clusters[9].hosts[0].count": 2}), _earlier({count: 8}),
    )  # fmt: skip
    asked = replace(problem(vary=["hosts"]), history=history)
    _, trials = search("random", asked, 6)
    assert [t.changes for t in trials.tried[:2]] == [{count: 5}, {count: 8}]


def test_a_budget_smaller_than_the_history_is_kept():
    asked = replace(problem(vary=["hosts"]), history=tuple(_earlier({"clusters[0].hosts[0].count": n}) for n in (5, 6)))
    assert len(search("bayesian", asked, 1)[1].tried) == 1


def test_rules_follow_their_own_result_until_the_budget_is_spent():
    attempted = by_rules(problem(slo=SloSettings(energy_kwh=0.5)), 4)
    assert [t.simulated.topology.host_count for t in attempted.trials.tried] == [9, 8, 7, 6]
    assert attempted.proposal.changes == {"clusters[0].hosts[0].count": 6}
    assert attempted.proposal.reasons[1].endswith("4 times")


def test_rules_that_see_nothing_to_do_keep_the_topology():
    attempted = by_rules(problem(), 5)
    assert attempted.proposal.changes == {}
    assert attempted.proposal.evaluation.saving_kwh == 0.0


def test_a_variant_is_simulated_once_however_often_it_is_asked_for():
    engine = ToyEngine()
    evaluator = Evaluator(engine, workload())
    for _ in range(3):
        evaluator.run(topology(5))
    assert (engine.runs, evaluator.simulations, evaluator.hits) == (1, 1, 2)


def test_a_variant_that_fails_has_a_reason_and_no_number():
    trials = Trials(problem(), 3)
    failed = trials.attempt({"clusters[0].hosts[0].count": 13})
    assert failed.simulated is None
    assert "bad luck" in failed.reason
    assert trials.best() is None


def test_an_impossible_change_counts_against_the_budget():
    trials = Trials(problem(), 1)
    assert "greater than 0" in trials.attempt({"clusters[0].hosts[0].count": -1}).reason
    with pytest.raises(InputError, match="budget of 1"):
        trials.attempt({})


def test_a_baseline_that_cannot_be_simulated_is_an_error():
    with pytest.raises(EngineError, match="bad luck"):
        make_problem(topology(13), Evaluator(ToyEngine(), workload()), SloSettings(), OptimizeSettings())


def test_an_unknown_strategy_names_the_known_ones():
    with pytest.raises(InputError, match="rules, bayesian"):
        run_strategy("magic", problem(), 1)


def test_doing_nothing_is_shown_with_the_baselines_numbers():
    found = idle(problem())
    assert found.evaluation.outcome == found.evaluation.baseline
