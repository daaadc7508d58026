"""The flow `optimize`: a contest on a generated trace, stored for people to decide."""

from __future__ import annotations

import pytest

from flows.optimize import optimize, proposals_markdown
from flows.parameters import OptimizeParameters
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.settings import LakeSettings


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    folder = tmp_path_factory.mktemp("optimize") / "half"
    make_trace(folder, SyntheticOptions(days=0.5, hosts=8, seed=3))
    return folder


def test_proposals_for_a_trace_are_stored_beside_no_op(trace, tmp_path):
    found = optimize.fn(OptimizeParameters(trace=str(trace), lake=str(tmp_path), strategy="random", budget=6))
    names = {row["strategy"] for row in found["strategies"]}
    assert names == {"random", "no-op"}
    with Lake.open(LakeSettings(path=tmp_path), read_only=True) as lake:
        stored = lake.rows("SELECT strategy FROM proposals WHERE run_id = ?", [found["run_id"]])
        (run,) = lake.rows("SELECT kind, state FROM runs")
    assert {row["strategy"] for row in stored} == names
    assert run == {"kind": "optimize", "state": "completed"}


def test_the_page_of_a_contest_says_what_changes_and_why(trace, tmp_path):
    found = optimize.fn(OptimizeParameters(trace=str(trace), lake=str(tmp_path), strategy="rules", budget=3))
    page = proposals_markdown(found)
    for row in found["strategies"]:
        assert f"| {row['strategy']} | {row['energy_kwh']:,.2f} |" in page
        assert all(path in page for path in row["changes"])
        assert row["reasons"][0] in page
    assert "**no-op**: changes nothing" in page
    best_is_a_change = found["strategies"][0]["changes"] != {}
    assert (f"opendt approve {found['recommended']}" in page) == best_is_a_change


@pytest.mark.parametrize("given", [{}, {"trace": "a", "run_id": "b"}])
def test_exactly_one_of_trace_and_run_is_asked_for(given, tmp_path):
    with pytest.raises(InputError, match="either a trace or a run id"):
        optimize.fn(OptimizeParameters(lake=str(tmp_path), **given))
