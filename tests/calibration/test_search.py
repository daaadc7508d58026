"""Objectives and the loop between sampler and objective."""

import numpy as np
import pytest

from opendt.calibration.samplers import make_sampler
from opendt.calibration.search import (
    PricedObjective,
    SimulatedObjective,
    default_space,
    join_occupancies,
    search,
    take_samples,
)
from opendt.calibration.space import parse_space, with_properties
from opendt.errors import EngineError, InputError, TopologyError
from opendt.metrics import mape_pct
from opendt.models.telemetry import PowerSeries
from opendt.power.pricing import group_models, price

FACTOR = "cpuPowerModel.calibrationFactor"


@pytest.fixture(scope="module")
def data(world_of):
    world = world_of(hours=4)
    occupancy = join_occupancies(world.windows)
    measured = PowerSeries(
        np.concatenate([r.timestamp_ms for r in world.readings]), np.concatenate([r.power_w for r in world.readings])
    )
    return world.topology, occupancy, measured


def test_a_batch_scores_like_one_by_one(data):
    topology, occupancy, measured = data
    objective = PricedObjective(topology, occupancy, measured)
    batch = [{FACTOR: 2.0}, {FACTOR: 5.0}, {FACTOR: 8.0}]
    scores = [t.score_mape_pct for t in objective.score(batch)]
    for parameters, score in zip(batch, scores, strict=True):
        models = group_models(with_properties(topology, parameters), occupancy.groups)
        assert score == pytest.approx(mape_pct(price(occupancy, models), measured.power_w), abs=1e-4)
    assert scores[1] == pytest.approx(0, abs=1e-4)


def test_impossible_and_unpriceable_parameters_fail_with_a_reason(data):
    objective = PricedObjective(*data)
    low, core, good = objective.score([{"cpuPowerModel.maxPower": 1.0}, {"cpu.coreSpeed": 1e3}, {FACTOR: 5.0}])
    assert (low.state, core.state, good.state) == ("failed", "failed", "complete")
    assert "below idlePower" in low.reason
    assert "new simulation" in core.reason


def test_bayesian_search_finds_the_hidden_exponent(data):
    objective = PricedObjective(*data)
    result = search(make_sampler("bayesian", parse_space({FACTOR: [1.1, 12.0]}), seed=1), objective, 25, batch=5)
    assert len(result.trials) == 25
    assert result.best.parameters[FACTOR] == pytest.approx(5.0, abs=0.3)
    assert result.best.score_mape_pct < 0.3


def test_a_finite_sampler_ends_the_search_early(data):
    result = search(make_sampler("grid", parse_space({FACTOR: [2, 8]}), points=4), PricedObjective(*data), 100)
    assert len(result.trials) == 4


def test_measurements_of_another_time_are_refused(data):
    topology, occupancy, measured = data
    with pytest.raises(InputError, match="nothing to calibrate on"):
        PricedObjective(topology, occupancy, PowerSeries(measured.timestamp_ms + 10**9, measured.power_w))


def test_a_new_simulation_per_trial_for_other_properties(data):
    topology, _, measured = data
    seen = []

    def simulate(topologies):
        seen.append(len(topologies))
        watts = [t.clusters[0].hosts[0].cpu.coreSpeed for t in topologies]
        results = [PowerSeries(measured.timestamp_ms, measured.power_w * (w / 2_000)) for w in watts]
        return [EngineError("it crashed") if w > 2_900 else r for w, r in zip(watts, results, strict=True)]

    objective = SimulatedObjective(topology, simulate, measured, "native")
    batch = [
        {"cpu.coreSpeed": 2_000.0},
        {"cpu.coreSpeed": -1.0},
        {"cpu.coreSpeed": 2_200.0},
        {"cpu.coreSpeed": 3_000.0},
    ]
    trials = objective.score(batch)
    assert seen == [3]
    assert trials[0].score_mape_pct == pytest.approx(0)
    assert trials[2].score_mape_pct == pytest.approx(10)
    assert (trials[1].state, trials[3].reason) == ("failed", "it crashed")


def test_properties_go_to_host_types_by_name(world_of):
    topology = world_of(hours=1, types=2).topology
    changed = with_properties(topology, {"T1:cpuPowerModel.idlePower": 60.0})
    assert [h.cpuPowerModel.idlePower for h in changed.clusters[0].hosts] == [50.0, 60.0]
    with pytest.raises(TopologyError, match="no host type is called T9"):
        with_properties(topology, {"T9:cpuPowerModel.idlePower": 60.0})


def test_default_space_covers_the_datasheet(world_of):
    topology = world_of(hours=1, types=2).topology
    space = default_space(topology)
    assert len(space.dimensions) == 6
    space.check({d.path: (d.low + d.high) / 2 for d in space.dimensions})


def test_occupancies_join_and_split(world):
    joined = join_occupancies(world.windows[:3])
    part = take_samples(joined, slice(120, 240))
    np.testing.assert_array_equal(part.weights, world.windows[1].weights)
    with pytest.raises(InputError, match="no occupancy"):
        join_occupancies([])
