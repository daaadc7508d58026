"""Objectives: deltas, both scores, the reference without targets, lost work, the Pareto front."""

import pytest
from optimize_builders import outcome

from opendt.errors import ConfigError
from opendt.optimize.objective import (
    checks,
    energy_runtime_score,
    lost_ratio,
    pareto_front,
    parse_slo,
    rank_key,
    relative_delta,
    score,
    shortfall,
    weighted_score,
    with_reference,
)
from opendt.settings import SloSettings


def test_energy_runtime_score_is_twice_the_energy_plus_the_hours():
    assert energy_runtime_score(outcome(0.84, 2.62)) == pytest.approx(4.30)


def test_weighted_score_by_hand():
    # energy +10 % weighs 0.6, runtime -50 % weighs 0.4
    slo = SloSettings(energy_kwh=100, runtime_h=48)
    assert weighted_score(outcome(110, 24), slo) == pytest.approx(0.6 * 0.1 - 0.4 * 0.5)


def test_weighted_score_clamps_each_delta():
    slo = SloSettings(energy_kwh=1, runtime_h=1e9)
    assert weighted_score(outcome(1000, 24), slo) == pytest.approx(0.6 * 5 - 0.4 * 1)


def test_weighted_score_counts_only_metrics_with_a_target():
    assert weighted_score(outcome(150), SloSettings(energy_kwh=100)) == pytest.approx(0.5)
    assert weighted_score(outcome(150), SloSettings()) == 0.0


def test_weights_may_name_any_metric():
    slo = SloSettings(carbon_kg=20, weights={"carbon_kg": 1.0})
    assert weighted_score(outcome(carbon_kg=30), slo) == pytest.approx(0.5)


def test_the_slos_select_the_score():
    assert score(outcome(10, 3), SloSettings(score="energy-runtime", energy_kwh=1)) == 23.0
    assert score(outcome(10, 3), SloSettings(energy_kwh=10)) == 0.0


def test_a_target_of_zero_is_met_only_by_zero():
    assert relative_delta(0, 0) == 0.0
    assert relative_delta(0.1, 0) == 1.0


def test_checks_name_each_target_and_whether_it_holds():
    found = checks(outcome(100, 24, queue_delay_s=5), SloSettings(energy_kwh=100, queue_delay_s=2))
    assert [(c.metric, c.met) for c in found] == [("energy_kwh", True), ("queue_delay_s", False)]


def test_without_targets_the_baseline_is_the_reference():
    slo = with_reference(SloSettings(), outcome(100, 24))
    assert (slo.energy_kwh, slo.runtime_h, slo.carbon_kg) == (100, 24, None)
    assert weighted_score(outcome(80, 24), slo) == pytest.approx(-0.12)


def test_a_given_target_stays_the_only_one():
    slo = SloSettings(energy_kwh=50)
    assert with_reference(slo, outcome()) is slo


def test_lost_tasks_and_lost_work_outweigh_any_saving():
    base = outcome(100, work_mhz_s=1000.0)
    lossy = outcome(20, work_mhz_s=800.0, tasks_lost=5)
    assert lost_ratio(lossy, base) == pytest.approx(0.25)
    slo = SloSettings(energy_kwh=90)
    assert rank_key(lossy, slo, base) > rank_key(outcome(95, work_mhz_s=1000.0), slo, base)


def test_only_given_targets_decide_what_is_acceptable():
    base = outcome(100, 24)
    slo = with_reference(SloSettings(peak_power_kw=7), base)
    longer = outcome(90, 25, peak_power_kw=6.9)
    assert rank_key(longer, slo, base, SloSettings(peak_power_kw=7))[0] == 0.0
    assert rank_key(longer, slo, base)[0] > 0.0


def test_rounding_of_delivered_work_is_not_a_loss():
    assert lost_ratio(outcome(work_mhz_s=999.5), outcome(work_mhz_s=1000.0)) == 0.0


def test_shortfall_sums_the_excess_over_each_target():
    slo = SloSettings(energy_kwh=80, runtime_h=20, carbon_kg=100)
    assert shortfall(outcome(100, 24), slo, outcome()) == pytest.approx(0.25 + 0.2)


def test_pareto_front_keeps_what_nothing_beats():
    options = [outcome(10, 5), outcome(8, 6), outcome(9, 7), outcome(12, 5), outcome(8, 6)]
    assert pareto_front(options) == [1, 0]


def test_old_target_names_are_understood():
    assert parse_slo({"energy_target": 2.0, "runtime_target": 3.0}) == SloSettings(energy_kwh=2.0, runtime_h=3.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"energy_kwh": -1}, "slo.json: energy_kwh: Input should be greater than 0"),
        ({"energy": 1}, "slo.json: energy: Extra inputs are not permitted. Known: energy_kwh"),
        ([1], "must be a JSON object"),
        ({"energy_kwh": 1, "energy_target": 1}, "given twice"),
        ({"weights": {"energy_kwh": -0.1}}, "weights.energy_kwh"),
    ],
)
def test_wrong_objectives_name_the_field(data, message):
    with pytest.raises(ConfigError) as error:
        parse_slo(data, "slo.json")
    assert message in error.value.message
