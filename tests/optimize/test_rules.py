"""The rules' thresholds, each at its edge, and their reasons."""

import pytest
from optimize_builders import topology

from opendt.optimize.changes import apply_changes
from opendt.optimize.rules import advise
from opendt.settings import SloSettings

SLO = SloSettings(energy_kwh=100, runtime_h=100)


@pytest.mark.parametrize(
    ("energy", "runtime", "rule"),
    [
        (130, 100, "fewer hosts"),
        (129.9, 100, "slower cores"),
        (115, 200, "slower cores"),
        (114.9, 125, "many more cores"),
        (100, 124.9, "more cores"),
        (100, 110, "more cores"),
        (100, 109.9, "maintain"),
        (80, 90, "fewer cores"),
        (80.1, 90, "maintain"),
        (80, 90.1, "maintain"),
        (100, 100, "maintain"),
    ],
)
def test_each_threshold_includes_its_edge(energy, runtime, rule):
    assert advise(topology(10, cores=16), energy, runtime, SLO).rule == rule


def test_far_too_much_energy_takes_one_host_of_each_type_but_never_the_last():
    advice = advise(topology(10, 1, 2), 200, 100, SLO)
    assert advice.changes == {"clusters[0].hosts[0].count": 9, "clusters[0].hosts[2].count": 1}
    assert "energy is 100% above target (200 kWh, target 100 kWh)" in advice.reasons[0]


@pytest.mark.parametrize(("speed", "slower"), [(2100, 1890), (1999, 1800), (1801, 1800)])
def test_too_much_energy_slows_cores_by_a_tenth_down_to_1800_mhz(speed, slower):
    advice = advise(topology(10, speed=speed), 120, 100, SLO)
    assert advice.changes == {"clusters[0].hosts[0].cpu.coreSpeed": slower}


@pytest.mark.parametrize(("cores", "more"), [(16, 20), (45, 48), (47, 48)])
def test_a_runtime_far_above_target_adds_four_cores_up_to_48(cores, more):
    assert advise(topology(10, cores=cores), 100, 130, SLO).changes == {"clusters[0].hosts[0].cpu.coreCount": more}


@pytest.mark.parametrize(("cores", "more"), [(16, 18), (31, 32)])
def test_a_runtime_above_target_adds_two_cores_up_to_32(cores, more):
    assert advise(topology(10, cores=cores), 100, 115, SLO).changes == {"clusters[0].hosts[0].cpu.coreCount": more}


@pytest.mark.parametrize(("cores", "fewer"), [(16, 14), (9, 8)])
def test_comfortably_below_both_targets_takes_two_cores_down_to_8(cores, fewer):
    assert advise(topology(10, cores=cores), 50, 50, SLO).changes == {"clusters[0].hosts[0].cpu.coreCount": fewer}


@pytest.mark.parametrize(
    ("world", "energy", "runtime"),
    [
        (topology(1), 200, 100),
        (topology(10, speed=1800), 120, 100),
        (topology(10, cores=48), 100, 130),
        (topology(10, cores=32), 100, 115),
        (topology(10, cores=8), 50, 50),
    ],
)
def test_at_its_limit_a_rule_maintains_and_says_so(world, energy, runtime):
    advice = advise(world, energy, runtime, SLO)
    assert (advice.rule, advice.changes) == ("maintain", {})
    assert "fixed or already at that limit" in advice.reasons[1]


def test_fixed_host_types_are_left_alone():
    advice = advise(topology(10, 5), 200, 100, SLO, fixed_hosts=["H01"])
    assert advice.changes == {"clusters[0].hosts[1].count": 4}


def test_a_target_left_out_triggers_nothing():
    assert advise(topology(10), 1e9, 100, SloSettings(runtime_h=100)).rule == "maintain"
    assert advise(topology(10), 50, 50, SloSettings(energy_kwh=100)).rule == "maintain"
    assert "neither" in advise(topology(10), 1e9, 1e9, SloSettings()).reasons[0]


@pytest.mark.parametrize(("energy", "runtime"), [(200, 100), (120, 100), (100, 130), (100, 115), (50, 50)])
def test_every_rule_gives_a_valid_topology(energy, runtime):
    world = topology(10, 3)
    changed = apply_changes(world, advise(world, energy, runtime, SLO).changes)
    assert changed != world
