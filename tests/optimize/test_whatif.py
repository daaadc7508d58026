"""What-if: variants beside the baseline, uncertainty, contests and the Pareto view."""

from dataclasses import replace

import numpy as np
import pytest
from optimize_builders import problem, topology

from opendt.engine.base import Occupancy
from opendt.errors import InputError, TopologyError
from opendt.models.topology import PowerModel
from opendt.optimize.contest import contest_json, hold_contest
from opendt.optimize.evaluate import condensed
from opendt.optimize.proposal import to_rows
from opendt.optimize.uncertainty import Evidence, energy_kwh, saving_band
from opendt.optimize.whatif import parse_variant, run_whatif
from opendt.settings import LlmSettings, SloSettings

COUNT = "clusters[0].hosts[0].count"


def _linear(idle, most=200.0):
    return PowerModel(modelType="linear", idlePower=idle, maxPower=most)


def test_variants_are_compared_with_the_baseline():
    asked = problem(slo=SloSettings(energy_kwh=4.0, runtime_h=5.0))
    found = run_whatif(asked, [parse_variant([f"{COUNT}=5"]), parse_variant([f"{COUNT}=1"])]).as_dict()
    five, one = found["variants"]
    base = found["baseline"]
    # five hosts save the idle power of five: 0.5 kW over the whole run
    assert five["saving_kwh"] == pytest.approx(0.5 * base["runtime_h"])
    assert five["delta"]["energy_kwh"] == pytest.approx(-five["saving_kwh"])
    assert five["delta_pct"]["runtime_h"] == 0.0
    assert one["queue_delay_s"] > five["queue_delay_s"]
    assert [s["metric"] for s in one["slos"] if not s["met"]] == ["runtime_h"]
    assert five["saving_low_kwh"] is None
    assert found["workload"] == {"tasks": 20, "fragments": 20}


def test_without_objectives_none_is_reported_as_missed():
    found = run_whatif(problem(), [parse_variant([f"{COUNT}=1"])]).as_dict()
    assert found["variants"][0]["slos"] == []


def test_a_variant_that_cannot_be_simulated_does_not_stop_the_others():
    found = run_whatif(problem(), [parse_variant([f"{COUNT}=13"]), parse_variant([f"{COUNT}=5"])]).as_dict()
    assert [v["state"] for v in found["variants"]] == ["failed", "complete"]
    assert "bad luck" in found["variants"][0]["reason"]
    assert "energy_kwh" not in found["variants"][0]


def test_a_change_that_does_not_fit_is_refused_before_anything_runs():
    asked = problem()
    runs = asked.evaluator.simulations
    with pytest.raises(TopologyError):
        run_whatif(asked, [parse_variant([f"{COUNT}=5"]), parse_variant(["clusters[9].name=x"])])
    assert asked.evaluator.simulations == runs


def test_an_allocation_policy_is_part_of_a_variant():
    assert parse_variant(["allocation=MemInv"]).allocation == {"type": "prefab", "policyName": "MemInv"}
    with pytest.raises(InputError, match="not a policy; there are Mem, MemInv"):
        parse_variant(["allocation=Fastest"])


def test_no_variant_is_an_error():
    with pytest.raises(InputError, match="0 variants"):
        run_whatif(problem(), [])


def test_the_band_is_that_of_the_difference():
    asked = problem()
    variant = asked.evaluator.run(topology(5))
    hours = asked.baseline.outcome.runtime_h
    # curves that differ in idle power from 90 to 110 W: five hosts less save 5 * idle
    ensemble = tuple((_linear(float(idle), idle + 100.0),) for idle in np.linspace(90, 110, 101))
    low, high = saving_band(asked.baseline, variant, Evidence(ensemble))
    assert low == pytest.approx(5 * 0.091 * hours, rel=1e-4)
    assert high == pytest.approx(5 * 0.109 * hours, rel=1e-4)


def test_window_errors_widen_the_band():
    asked = problem()
    variant = asked.evaluator.run(topology(5))
    saved = asked.baseline.outcome.energy_kwh - variant.outcome.energy_kwh
    low, high = saving_band(asked.baseline, variant, Evidence((), tuple(np.linspace(0.9, 1.1, 201))))
    assert (low, high) == pytest.approx((0.91 * saved, 1.09 * saved), rel=1e-6)


def test_a_variants_own_curve_is_kept_in_the_band():
    asked = problem()
    halved = topology(10, idle=50.0, most=100.0)
    variant = asked.evaluator.run(halved)
    ensemble = ((_linear(100.0),),) * 5
    low, high = saving_band(asked.baseline, variant, Evidence(ensemble))
    assert low == pytest.approx(high)
    assert low == pytest.approx(asked.baseline.outcome.energy_kwh / 2, rel=1e-4)


def test_too_little_evidence_gives_no_band():
    asked = problem()
    variant = asked.evaluator.run(topology(5))
    assert saving_band(asked.baseline, variant, Evidence(((_linear(100.0),),) * 4, (1.0,) * 4)) is None


def test_averaging_an_occupancy_keeps_the_energy_under_every_model():
    generator = np.random.default_rng(3)
    weights = generator.random((4, 1, 3), dtype=np.float32)
    full = Occupancy(np.array([1000, 3000, 3500, 9000]), np.array([0.0, 0.5, 1.0]), ((0, 0),), weights, weights,
                     generator.random((4, 1), dtype=np.float32))  # fmt: skip
    models = [(PowerModel(modelType="active", idlePower=50, maxPower=200, stepPower=20),), (_linear(80.0),)]
    base = problem().baseline
    long, short = (replace(base, occupancy=o, start_ms=400) for o in (full, condensed(full, 400)))
    assert energy_kwh(short, models) == pytest.approx(energy_kwh(long, models), rel=1e-5)


def test_a_contest_gives_every_strategy_the_same_budget_and_ranks_them():
    held = hold_contest(problem(slo=SloSettings(energy_kwh=4.0), vary=["hosts"]), "tournament", 8, LlmSettings())
    rows = to_rows(held.proposals, run_id="r", datacenter="dc", window_index=None, created_ms=0)
    found = contest_json(held, rows, "r", "tournament", 8)
    standing = found["strategies"]
    assert {row["strategy"] for row in standing} == {"rules", "bayesian", "random", "llm", "no-op"}
    assert all(row["simulations"] <= 8 for row in standing)
    assert standing[0]["score"] <= standing[1]["score"]
    assert standing[0]["meets_slos"]
    assert found["recommended"] == standing[0]["proposal_id"]
    llm = next(row for row in standing if row["strategy"] == "llm")
    assert "no API key" in llm["fallback_reason"]
    assert len({row["proposal_id"] for row in rows}) == len(rows)
    assert all(row["proposal_id"] in {r["proposal_id"] for r in rows} for row in standing)


def test_the_pareto_view_holds_what_nothing_beats():
    held = hold_contest(problem(slo=SloSettings(energy_kwh=1.0, runtime_h=100)), "random", 12)
    front = held.pareto()
    assert [p["energy_kwh"] for p in front] == sorted(p["energy_kwh"] for p in front)
    assert [p["runtime_h"] for p in front] == sorted((p["runtime_h"] for p in front), reverse=True)


def test_trials_are_stored_with_their_proposal():
    held = hold_contest(problem(vary=["hosts"]), "random", 4)
    assert len(held.proposals[0].details["trials"]) == len(held.attempted[0].trials.tried)
