"""``opendt trace``: output and exit codes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from opendt.cli import app


@pytest.fixture
def run():
    """Run an ``opendt trace`` command."""
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["trace", *map(str, words)])


def test_info_prints_one_json_object(tiny, run):
    result = run("info", tiny(), "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["tasks"]["seen"] == 3
    assert facts["tasks"]["runnable"] == 2
    assert facts["span"]["hours"] == pytest.approx(60 / 3600)
    assert facts["cores"]["tasks_by_cores"] == {"2": 1, "4": 1}
    assert facts["usage"]["mean_mhz_total"] == pytest.approx(11_000 / 3)
    assert facts["power"] is None
    assert facts["warnings"] == ["1 tasks have no fragments and will not run"]


def test_info_prints_a_table_and_notes(tiny, run):
    result = run("info", tiny())
    assert result.exit_code == 0
    assert "tasks.without_fragments" in result.stdout
    assert "note: 1 tasks have no fragments" in result.stdout


def test_info_of_a_bad_trace_is_one_line_and_exit_code_2(tiny, run):
    result = run("info", tiny(tasks_duration=[1, -5, 1]))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "tasks.parquet row 1: duration is -5" in result.stderr
    assert run("info", tiny(tasks_duration=[1, -5, 1]), "--skip-invalid").exit_code == 0


def test_info_warns_of_tasks_no_host_can_hold_and_of_gaps(tiny, run):
    folder = tiny(
        consumption={"timestamp": [0, 30_000, 60_000, 90_000, 300_000], "power_draw": [1.0] * 5},
        carbon={"timestamp": [1_800_000_000_000], "carbon_intensity": [1.0]},
        tasks_parents=[[], ["x-12"], []],
    )
    (folder / "topology.json").write_text(
        '{"clusters": [{"hosts": [{"cpu": {"coreCount": 3, "coreSpeed": 1000}, "memory": {"memorySize": 1000}}]}]}'
    )
    facts = json.loads(run("info", folder, "--json").stdout)
    text = "\n".join(facts["warnings"])
    assert "1 tasks need more cores or memory than any host has" in text
    assert "1 tasks wait for a parent without fragments" in text
    assert "measured power has 1 gaps" in text
    assert "carbon intensity begins at 2027-01-15T08:00:00Z" in text
    assert facts["power"]["gap_hours"] == pytest.approx(3 / 60)
