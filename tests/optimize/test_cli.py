"""The commands, on a small generated trace and lake: what-if, optimize, decide, roll back."""

import json

import pytest
from optimize_builders import topology, workload
from typer.testing import CliRunner

from opendt.cli import app
from opendt.traces.writer import new_folder, write_topology, write_workload

RUNNER = CliRunner()
COUNT = "clusters[0].hosts[0].count"


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace") / "tiny"
    with new_folder(folder) as made:
        write_workload(made, workload())
        write_topology(made, topology(10))
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def _run(*arguments, code=0):
    result = RUNNER.invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def _json(*arguments):
    return json.loads(_run(*arguments, "--json").stdout)


def test_whatif_prints_one_object_and_a_table(trace, home):
    arguments = ("whatif", "--trace", trace, "--set", f"{COUNT}=5", "--variant", f"{COUNT}=4; clusters[0].name=X")
    found = _json(*arguments)
    assert [len(v["changes"]) for v in found["variants"]] == [1, 2]
    assert found["variants"][0]["saving_kwh"] > 0
    assert "variant 2" in _run(*arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --set PATH=VALUE"),
        (("--set", "count"), "must be PATH=VALUE"),
        (("--set", f"{COUNT}=0"), "greater than 0"),
        (("--set", "clusters[7].name=x"), "does not exist"),
        (("--set", f"{COUNT}=5", "--from", "yesterday"), "ISO 8601"),
    ],
)
def test_whatif_with_wrong_input_exits_with_2_and_one_line(trace, home, arguments, message):
    result = _run("whatif", "--trace", trace, *arguments, code=2)
    assert message in result.output.replace("\n", " ")


def test_whatif_needs_a_trace_or_a_run(home):
    assert "--trace DIR or --run ID" in _run("whatif", "--set", f"{COUNT}=5", code=2).output


def test_a_proposal_is_made_approved_and_rolled_back(trace, home):
    lake = ("--lake", home / "lake")
    (home / "slo.json").write_text('{"energy_kwh": 5.0}')
    made = _json("optimize", "--trace", trace, "--strategy", "tournament", "--budget", 6, "--slo", "slo.json", *lake)
    assert {row["strategy"] for row in made["strategies"]} == {"rules", "bayesian", "random", "llm", "no-op"}
    assert made["strategies"][0]["saving_pct"] > 10

    listed = _json("proposals", "--run", made["run_id"], *lake)
    assert {row["proposal_id"] for row in listed} == {row["proposal_id"] for row in made["proposals"]}
    best = made["recommended"]
    shown = _json("proposals", best, *lake)
    assert shown["topology"]["clusters"][0]["hosts"][0]["count"] < 10
    assert "change clusters" in _run("proposals", best, *lake).stdout

    approved = _json("approve", best, "--reason", "cheaper", "--by", "ada", *lake)
    assert (approved["proposal_id"], approved["published"]) == (best, False)
    assert "approved already" in _run("approve", best, *lake, code=2).output
    other = next(r["proposal_id"] for r in listed if r["proposal_id"] != best)
    assert _json("reject", other, *lake)["decision"] == "rejected"

    active = json.loads(_run("topology", "show", *lake).stdout)
    assert active == shown["topology"]
    back = _json("topology", "rollback", "--by", "bob", *lake)
    assert back["hosts"] == 10
    history = _json("topology", "history", *lake)
    assert [row["source"] for row in history] == ["rollback", "proposal", "trace"]
    assert _json("proposals", best, *lake)["state"] == "rolled-back"


def test_objectives_are_set_shown_and_kept_as_versions(home):
    lake = ("--lake", home / "lake")
    assert _json("slo", "show", *lake)["version"] == 0
    assert _json("slo", "set", "energy_kwh=400", "runtime_h=24", *lake)["version"] == 1
    assert _json("slo", "set", "runtime_h=null", *lake)["slo"]["energy_kwh"] == 400
    assert [row["version"] for row in _json("slo", "history", *lake)] == [2, 1]
    assert "greater than 0" in _run("slo", "set", "energy_kwh=-1", *lake, code=2).output
    assert "NAME=VALUE" in _run("slo", "set", *lake, code=2).output


def test_objectives_in_force_are_those_a_question_is_judged_by(trace, home):
    lake = ("--lake", home / "lake")
    _run("slo", "set", "energy_kwh=0.001", *lake)
    found = _json("whatif", "--trace", trace, "--set", f"{COUNT}=5", *lake)
    assert found["variants"][0]["slos"][0]["met"] is False


def test_an_unknown_proposal_is_one_line(home, trace):
    lake = ("--lake", home / "lake")
    _run("slo", "set", "energy_kwh=1", *lake)
    assert "no proposal p-x" in _run("approve", "p-x", *lake, code=2).output
