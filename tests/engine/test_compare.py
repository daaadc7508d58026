"""Comparing an engine with recorded runs: every broken bound is found, every odd folder is an outcome, not a crash."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.engine import get_engine
from opendt.engine.base import SimulationResult
from opendt.engine.compare import compare, compare_folder
from opendt.engine.compare_tables import TABLES, compare_table, stale_hosts
from opendt.engine.opendc.events import SCHEMA
from opendt.errors import EngineError, InputError

FILES = {"powerSource": "power_source", "host": "host", "task": "task", "service": "service"}


class Replay:
    """An engine that gives back a recording, after ``change`` has had its way with the tables."""

    name = "replay"
    version = "1"

    def __init__(self, recording: Path, change=lambda tables: tables) -> None:
        self.recording, self.change = recording, change

    def start(self, topology, options, carbon=None):
        return options

    def advance(self, state, arrived, until_ms):
        tables = {name: pq.read_table(self.recording / f"{name}.parquet") for name in FILES}
        tables = self.change(tables)
        return state, SimulationResult(
            **{FILES[name]: table for name, table in tables.items()}, task_events=SCHEMA.empty_table(), occupancy=None,
            energy_j=0.0, carbon_g=0.0, tasks_started=0, tasks_completed=0, tasks_terminated=0, tasks_running=0,
            tasks_waiting=0,
        )  # fmt: skip


@pytest.fixture
def scenario(golden, tmp_path) -> Path:
    """A private copy of a golden scenario."""
    folder = tmp_path / "scenarios/queueing_many"
    shutil.copytree(golden / "queueing_many", folder)
    return folder


def scaled(name: str, column: str, factor: float):
    def change(tables):
        table = tables[name]
        values = pc.multiply(table[column].cast(pa.float64()), factor).cast(pa.float32())
        return tables | {name: table.set_column(table.column_names.index(column), column, values)}

    return change


def swapped(name: str, column: str, old, new):
    def change(tables):
        table = tables[name]
        values = pa.array([new if v == old else v for v in table[column].to_pylist()], table[column].type)
        return tables | {name: table.set_column(table.column_names.index(column), column, values)}

    return change


def outcome_of(scenario: Path, change=lambda tables: tables, *, strict: bool = False):
    return compare_folder(Replay(scenario / "expected", change), scenario, strict=strict)


def test_the_recording_itself_passes(scenario):
    outcome = outcome_of(scenario)
    assert outcome.passed
    assert outcome.largest("powerSource.power_draw", "host.power_draw") == 0.0


def test_row_order_within_a_time_does_not_matter(scenario):
    def backwards(tables):
        entity = {"host": "host_name", "task": "task_id", "powerSource": "source_name", "service": "hosts_down"}
        found = {}
        for name, table in tables.items():
            _, codes = np.unique(table[entity[name]].to_pylist(), return_inverse=True)
            found[name] = table.take(np.lexsort((-codes, table["timestamp"].to_numpy())))
        return found

    host = pq.read_table(scenario / "expected/host.parquet")
    assert not backwards({"host": host})["host"].equals(host)
    assert outcome_of(scenario, backwards).why == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (scaled("powerSource", "power_draw", 1.0003), "powerSource.power_draw: off by up to 3.0e-04"),
        (scaled("host", "power_draw", 1.0003), "host.power_draw"),
        (scaled("powerSource", "energy_usage", 1.00003), "powerSource.energy_usage: total of PowerSource"),
        (scaled("host", "cpu_usage", 0.9), "host.cpu_usage"),
        (scaled("task", "cpu_demand", 1.01), "task.cpu_demand"),
        (swapped("task", "task_state", "COMPLETED", "RUNNING"), "task.task_state"),
        (swapped("task", "host_name", "H01", "H01-1"), "task.host_name"),
        (swapped("service", "tasks_pending", 0, 1), "service.tasks_pending"),
        (lambda t: t | {"task": t["task"].slice(1)}, "task: "),
        (lambda t: t | {"host": t["host"].drop_columns(["power_draw"])}, "host.power_draw: the engine gave no such"),
    ],
)
def test_each_broken_bound_is_named(scenario, change, says):
    outcome = outcome_of(scenario, change)
    assert not outcome.passed
    assert any(says in text for text in outcome.why), outcome.why


@pytest.mark.parametrize(
    "change", [scaled("powerSource", "power_draw", 1.00005), scaled("host", "energy_usage", 1.000005)]
)
def test_deviations_within_the_bounds_pass(scenario, change):
    assert outcome_of(scenario, change).why == []


def test_a_changed_finish_time_is_shown_with_both_values(scenario):
    finished = next(v for v in pq.read_table(scenario / "expected/task.parquet")["finish_time"].to_pylist() if v)
    outcome = outcome_of(scenario, swapped("task", "finish_time", finished, finished + 1))
    assert any(f"{finished + 1}, expected {finished}" in text for text in outcome.why)


def test_a_value_that_is_no_number_never_passes(scenario):
    outcome = outcome_of(scenario, scaled("powerSource", "power_draw", float("nan")))
    assert any("power_draw: off by up to inf" in text for text in outcome.why)


def test_stale_usage_is_forgiven_for_usage_only(golden, tmp_path):
    folder = tmp_path / "two_clusters"
    shutil.copytree(golden / "two_clusters", folder)
    host = pq.read_table(folder / "expected/host.parquet")
    stale = stale_hosts(host)
    assert len(stale) == 5

    def repaired(tables):
        table = tables["host"]
        usage = pc.min_element_wise(table["cpu_demand"], table["cpu_capacity"])
        return tables | {"host": table.set_column(table.column_names.index("cpu_usage"), "cpu_usage", usage)}

    assert outcome_of(folder, repaired).why == []
    rule = next(t for t in TABLES if t.name == "host")
    assert any("cpu_usage" in text for text in compare_table(rule, host, repaired({"host": host})["host"], set())[1])


def test_absent_optional_tables_are_tolerated_and_said(golden, scenario):
    (scenario / "expected/task.parquet").unlink()
    outcome = compare_folder(Replay(golden / "queueing_many/expected"), scenario)
    assert outcome.passed
    assert any("task.parquet is absent" in note for note in outcome.notes)


def test_cartesian_scenarios_are_compared_with_their_own_recording(golden, tmp_path):
    folder = tmp_path / "cartesian"
    shutil.copytree(golden / "cartesian", folder)
    shutil.rmtree(folder / "expected/7")
    (folder / "expected/6").rename(folder / "expected/6.old")
    (folder / "expected/6").mkdir()
    (folder / "expected/6.old").rename(folder / "expected/6/seed=0")
    outcome = outcome_of_index(folder, 0)
    assert "no recording of scenario 7" in outcome.notes
    assert any(text.startswith("scenario 6: ") for text in outcome.why)
    assert not any(text.startswith("scenario 0: ") for text in outcome.why)


def outcome_of_index(folder: Path, index: int):
    return compare_folder(Replay(folder / f"expected/{index}"), folder)


def edit(path: Path, change):
    pq.write_table(change(pq.read_table(path)), path)


def as_text(table, name):
    return table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))


def test_columns_the_recording_does_not_have_are_said(golden, scenario):
    edit(scenario / "expected/host.parquet", lambda table: table.drop(["power_draw", "cpu_usage"]))
    outcome = compare_folder(Replay(golden / "queueing_many/expected"), scenario)
    assert outcome.passed
    assert "expected/host.parquet has no power_draw, cpu_usage: not compared" in outcome.notes


@pytest.mark.parametrize(
    ("table", "column", "factor"),
    [("host", "power_draw", 1 + 1e-5), ("host", "cpu_time_active", 2), ("powerSource", "energy_usage", 1 + 5e-6),
     ("task", "uptime", 2)],
)  # fmt: skip
def test_a_strict_comparison_finds_what_the_bounds_let_pass(scenario, table, column, factor):
    change = scaled(table, column, factor)
    assert outcome_of(scenario, change).why == []
    why = outcome_of(scenario, change, strict=True).why
    assert any(f"{table}.{column}" in text for text in why)
    assert outcome_of(scenario, strict=True).why == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "experiment.json").unlink(), "experiment.json"),
        (lambda f: (f / "experiment.json").write_text("[]"), "experiment.json"),
        (lambda f: (f / "topology.json").write_text("{}"), "topology.json"),
        (lambda f: (f / "workload/tasks.parquet").write_bytes(b"PAR1"), "tasks.parquet"),
        (lambda f: (f / "expected/host.parquet").write_bytes(b"nothing"), "host.parquet"),
        (lambda f: [p.unlink() for p in (f / "expected").iterdir()], "holds no table"),
        (lambda f: edit(f / "expected/host.parquet", lambda t: t.drop(["timestamp"])), "column timestamp is missing"),
        (lambda f: edit(f / "expected/task.parquet", lambda t: t.drop(["task_id"])), "column task_id is missing"),
        (
            lambda f: edit(f / "expected/powerSource.parquet", lambda t: as_text(t, "power_draw")),
            "column power_draw has type string; must be a number",
        ),
        (
            lambda f: edit(f / "expected/host.parquet", lambda t: as_text(t, "cpu_usage")),
            "column cpu_usage has type string",
        ),
    ],
)
def test_a_broken_folder_fails_with_its_reason_and_the_others_still_run(golden, scenario, damage, says):
    recording = golden / "queueing_many/expected"
    shutil.copytree(golden / "queueing_many", scenario.parent / "whole")
    damage(scenario)
    found = compare(Replay(recording), scenario.parent)
    assert [o.name for o in found.outcomes] == ["queueing_many", "whole"]
    assert [o.passed for o in found.outcomes] == [False, True]
    assert says in found.outcomes[0].why[0]


def test_what_the_engine_raises_is_the_scenarios_outcome(scenario):
    def fail(tables):
        raise EngineError("host H01 caught fire", engine="replay")

    def stumble(tables):
        return tables["no such table"]

    assert outcome_of(scenario, fail).why == ["host H01 caught fire"]
    assert "replay engine raised KeyError" in outcome_of(scenario, stumble).why[0]


def test_runs_with_unseeded_failures_are_skipped(scenario):
    experiment = json.loads((scenario / "experiment.json").read_text())
    experiment["failureModels"] = [{"type": "prefab", "prefabName": "G5k06Exp"}]
    (scenario / "experiment.json").write_text(json.dumps(experiment))
    outcome = outcome_of(scenario)
    assert not outcome.passed
    assert outcome.why == []
    assert "unseeded" in str(outcome.skipped)


def test_failing_hosts_in_shuffled_order_are_skipped_only_where_they_differ(golden, tmp_path):
    folder = tmp_path / "host_failure"
    shutil.copytree(golden / "host_failure", folder)
    topology = json.loads((folder / "topology.json").read_text())
    moved = swapped("task", "host_name", "H01", "H01-0")
    assert outcome_of(folder, moved).why != []
    topology["clusters"][0]["hosts"][0]["count"] = 2
    (folder / "topology.json").write_text(json.dumps(topology))
    outcome = outcome_of(folder, moved)
    assert outcome.why == []
    assert "shuffles failing hosts" in str(outcome.skipped)
    assert outcome_of(folder).passed


def test_a_folder_without_scenarios_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no scenario"):
        compare(Replay(tmp_path), tmp_path)


class TestCommand:
    run = staticmethod(CliRunner().invoke)

    @pytest.fixture(autouse=True)
    def replayed(self, monkeypatch, scenario):
        self.change = lambda tables: tables
        replay = Replay(scenario / "expected", lambda tables: self.change(tables))
        monkeypatch.setattr("opendt.engine.get_engine", lambda *_: replay)

    def test_json_counts_scenarios_and_names_failures(self, scenario):
        self.change = scaled("powerSource", "power_draw", 2.0)
        done = self.run(app, ["engine", "compare", str(scenario.parent), "--json"])
        found = json.loads(done.stdout)
        assert done.exit_code == 1
        assert (found["scenarios"], found["passed"]) == (1, 0)
        assert found["failed"][0]["name"] == "queueing_many"
        assert "power_draw" in found["failed"][0]["why"]

    def test_the_table_names_every_scenario(self, scenario):
        done = self.run(app, ["engine", "compare", str(scenario)])
        assert done.exit_code == 0
        assert "queueing_many" in done.stdout
        assert "1 passed, 0 failed" in done.stdout

    def test_an_empty_folder_exits_with_2(self, tmp_path):
        (tmp_path / "empty").mkdir()
        assert self.run(app, ["engine", "compare", str(tmp_path / "empty")]).exit_code == 2


def test_an_unknown_engine_is_refused_by_name():
    with pytest.raises(InputError, match="quantum"):
        get_engine("quantum")


def test_findings_keep_the_largest_deviation_of_several_runs(golden):
    from opendt.engine.compare import _merge
    from opendt.engine.compare_tables import Finding

    findings = [Finding("host.power_draw", 0.1, 1e-4)]
    _merge(findings, [Finding("host.power_draw", 0.3, 1e-4), replace(findings[0], name="task.cpu_usage")])
    assert [(f.name, f.deviation) for f in findings] == [("host.power_draw", 0.3), ("task.cpu_usage", 0.1)]
