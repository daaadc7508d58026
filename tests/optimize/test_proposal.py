"""Proposals: identity, rows of the lake, effects in words."""

import orjson
import pytest
from optimize_builders import outcome, topology

from opendt.lake.schema import BY_NAME
from opendt.models.topology import parse_topology
from opendt.optimize.proposal import Evaluation, compare, no_op, proposal_id, propose, to_row
from opendt.optimize.propose import propose_at_end
from opendt.settings import SloSettings

SLO = SloSettings(energy_kwh=100, runtime_h=24)
WHERE = {"run_id": "r1", "datacenter": "dc", "window_index": 3, "created_ms": 1000}


def _proposal(**facts):
    return propose("rules", topology(10), {"clusters[C01].hosts[H01].count": 9}, ("because",), **facts)


def test_a_row_has_exactly_the_columns_of_the_lake():
    row = to_row(_proposal(), **WHERE)
    assert list(row) == [column.name for column in BY_NAME["proposals"].columns]


def test_a_row_holds_canonical_changes_and_a_complete_topology():
    row = to_row(_proposal(evaluation=compare(outcome(120), outcome(110), SLO)), **WHERE)
    assert orjson.loads(row["changes_json"]) == {"clusters[0].hosts[0].count": 9}
    assert parse_topology(orjson.loads(row["topology_json"])) == topology(9)
    assert (row["baseline_energy_kwh"], row["energy_kwh"], row["state"]) == (120, 110, "pending")
    assert row["score"] < row["baseline_score"]
    details = orjson.loads(row["details_json"])
    assert details["meets_slos"] is False
    assert [s["met"] for s in details["slos"]] == [False, True]


def test_without_simulation_there_is_no_number():
    row = to_row(_proposal(), **WHERE)
    assert row["energy_kwh"] is None
    assert row["score"] is None


def test_the_same_step_done_again_has_the_same_identifier():
    assert proposal_id("r1", 3, _proposal()) == proposal_id("r1", 3, _proposal(duration_s=9.0))
    assert proposal_id("r1", 4, _proposal()) != proposal_id("r1", 3, _proposal())
    assert proposal_id("r1", 3, _proposal(allocation={"type": "prefab"})) != proposal_id("r1", 3, _proposal())


@pytest.mark.parametrize(
    ("energy", "band", "words"),
    [
        (91, None, "saves 9 kWh"),
        (91, (7.0, 11.0), "saves 9 kWh (7 to 11 with 90 %)"),
        (109, (-11.0, -7.0), "costs 9 kWh (7 to 11 with 90 %)"),
        (91, (-1.0, 11.0), "saves 9 kWh (-1 to 11 with 90 %)"),
    ],
)
def test_effects_are_told_with_their_band(energy, band, words):
    low, high = band or (None, None)
    evaluation = Evaluation(outcome(100), outcome(energy), 0.0, 0.0, (), low, high)
    assert evaluation.in_words() == words


def test_the_energy_band_is_the_baseline_less_the_saving():
    evaluation = Evaluation(outcome(100), outcome(91), 0.0, 0.0, (), 7.0, 11.0, "calibration")
    row = to_row(_proposal(evaluation=evaluation), **WHERE)
    assert (row["energy_low_kwh"], row["energy_high_kwh"]) == (89, 93)


def test_at_the_end_of_a_run_its_totals_give_a_rules_and_a_no_op_row():
    rows = propose_at_end(topology(10), SLO, outcome=outcome(150), **WHERE)
    assert [row["strategy"] for row in rows] == ["rules", "no-op"]
    assert orjson.loads(rows[0]["changes_json"]) == {"clusters[0].hosts[0].count": 9}
    assert rows[0]["energy_kwh"] is None


def test_within_targets_only_the_no_op_is_proposed_with_its_reason():
    rows = propose_at_end(topology(10), SLO, outcome=outcome(100), **WHERE)
    assert [row["strategy"] for row in rows] == ["no-op"]
    assert "no rule applies" in orjson.loads(rows[0]["reasons_json"])[0]


def test_totals_or_a_problem_must_be_given():
    with pytest.raises(TypeError):
        propose_at_end(topology(10), SLO, **WHERE)


def test_doing_nothing_changes_nothing():
    assert no_op(topology(10)).changes == {}
