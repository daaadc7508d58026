"""The commands over a lake: what they print, and that --json is exactly one value."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.lake import Lake
from opendt.lake.connection import extension_file
from opendt.settings import LakeSettings

from .conftest import make_window

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "lake"
    shutil.copytree(empty_lake, path)
    with Lake.open(LakeSettings(path=path)) as lake:
        lake.start_run("run-a", "dc", "twin", started_ms=1_000)
        lake.commit_windows([make_window(0, samples=30), make_window(1, samples=30)])
        lake.finish_run("run-a", "dc", "completed")
        lake.start_run("run-b", "dc", "twin", started_ms=2_000)
    return str(path)


def test_sql_prints_a_table_json_or_csv(folder: str) -> None:
    query = ["sql", "SELECT window_index AS w, start FROM window_times ORDER BY 1", "--lake", folder]
    table = runner.invoke(app, query)
    assert table.exit_code == 0
    assert "1970-01-01T01:00:00Z" in table.stdout
    assert json.loads(runner.invoke(app, [*query, "--json"]).stdout) == [
        {"w": 0, "start": "1970-01-01T00:00:00Z"},
        {"w": 1, "start": "1970-01-01T01:00:00Z"},
    ]
    found = list(csv.DictReader(io.StringIO(runner.invoke(app, [*query, "--csv"]).stdout)))
    assert [row["w"] for row in found] == ["0", "1"]


def test_sql_reads_standard_input_and_says_when_rows_were_cut(folder: str) -> None:
    result = runner.invoke(app, ["sql", "-", "--lake", folder, "--limit", "2", "--json"], input="FROM power;\n")
    assert len(json.loads(result.stdout)) == 2
    assert "only the first 2 rows" in result.stderr


def test_wide_rows_lose_no_value(folder: str) -> None:
    result = runner.invoke(app, ["sql", "FROM latest_run", "--lake", folder])
    for name in ("uncalibrated_mape_pct", "energy_measured_kwh", "run-a"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "DELETE FROM runs"], "only SELECT"),
        (["sql", "SELECT * FROM read_text('/etc/passwd')"], "read_text is not allowed"),
        (["sql", "SELECT 1", "--json", "--csv"], "not both"),
        (["sql", "SELECT 1", "--shell"], "not both"),
        (["sql"], "give a statement"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(folder: str, arguments: list[str], message: str) -> None:
    result = runner.invoke(app, [*arguments, "--lake", folder])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["sql", "SELECT 1"], ["runs"], ["lake", "info"], ["lake", "maintain"], ["lake", "attach-command"]]
)
def test_missing_lake_is_an_error_and_stays_missing(tmp_path: Path, arguments: list[str]) -> None:
    result = runner.invoke(app, [*arguments, "--lake", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "there is no lake here" in result.stderr
    assert not (tmp_path / "none").exists()


def test_shell_goes_on_after_an_error(folder: str) -> None:
    lines = "SELECT\n 41 + 1 AS answer;\nSELECT nonsense;\n.describe runs\n.help\n.exit\nSELECT 'after';\n"
    result = runner.invoke(app, ["sql", "--shell", "--lake", folder], input=lines)
    assert result.exit_code == 0
    assert "42" in result.stdout
    assert "trace_sha256" in result.stdout
    assert ".tables" in result.stdout
    assert "after" not in result.stdout
    assert "nonsense" in result.stderr


def test_runs_lists_the_newest_first_with_totals_so_far(folder: str) -> None:
    runs = json.loads(runner.invoke(app, ["runs", "--lake", folder, "--json"]).stdout)
    assert [(run["run_id"], run["state"], run["windows"]) for run in runs] == [
        ("run-b", "running", 0),
        ("run-a", "completed", 2),
    ]
    assert runs[1]["energy_kwh"] == pytest.approx(2.0)
    assert "completed" in runner.invoke(app, ["runs", "--lake", folder]).stdout


def test_lake_info_counts_rows_and_files(folder: str) -> None:
    info = json.loads(runner.invoke(app, ["lake", "info", "--lake", folder, "--json"]).stdout)
    rows = {table["table"]: table["rows"] for table in info["tables"]}
    assert rows["power_samples"] == 60
    assert rows["windows"] == 2
    assert info["runs"] == 2
    assert "power_samples" in runner.invoke(app, ["lake", "info", "--lake", folder]).stdout


def test_sql_as_of_a_snapshot_or_a_time_shows_what_was_known_then(tmp_path: Path, empty_lake: Path) -> None:
    path = str(tmp_path / "lake")
    shutil.copytree(empty_lake, path)
    with Lake.open(LakeSettings(path=Path(path))) as lake:
        first = lake.commit_window(make_window(0)).snapshot
        lake.commit_window(make_window(1))
    count = ["sql", "SELECT count(*) AS n FROM windows", "--lake", path, "--json"]
    assert json.loads(runner.invoke(app, [*count, "--as-of", str(first)]).stdout) == [{"n": 1}]
    assert json.loads(runner.invoke(app, [*count, "--as-of", "2100-01-01T00:00:00Z"]).stdout) == [{"n": 2}]
    assert runner.invoke(app, [*count, "--as-of", "tomorrow"]).exit_code == 2
    listed = json.loads(runner.invoke(app, ["lake", "snapshots", "--limit", "2", "--lake", path, "--json"]).stdout)
    assert [row["snapshot"] for row in listed] == [first + 1, first]
    assert "tables_inserted_into" in listed[0]["changes"] or "inlined_insert" in listed[0]["changes"]


def test_attach_command_opens_the_lake_in_a_plain_duckdb(folder: str) -> None:
    printed = runner.invoke(app, ["lake", "attach-command", "--lake", folder]).stdout
    assert printed.startswith("INSTALL ducklake; INSTALL sqlite;")
    with duckdb.connect() as client:
        for name in ("ducklake", "sqlite_scanner"):  # what INSTALL would download
            client.execute(f"LOAD '{extension_file(name)}'")
        client.execute(printed.split("\n", 1)[1])
        assert client.execute("SELECT count(*) FROM power").fetchone() == (60,)


def test_maintain_merges_files_and_keeps_every_row(tmp_path: Path, empty_lake: Path) -> None:
    path = tmp_path / "lake"
    shutil.copytree(empty_lake, path)
    with Lake.open(LakeSettings(path=path)) as lake:
        for index in range(4):
            lake.commit_window(make_window(index, samples=30))
        lake.commit_window(make_window(0, samples=30))
        before = lake.query("FROM power ORDER BY ALL")
    first = json.loads(runner.invoke(app, ["lake", "maintain", "--lake", str(path), "--json"]).stdout)
    assert first["files_after"] < first["files_before"]
    assert first["snapshots_expired"] == 0
    second = json.loads(
        runner.invoke(app, ["lake", "maintain", "--keep-days", "0", "--lake", str(path), "--json"]).stdout
    )
    assert second["snapshots_expired"] > 0
    assert second["files_deleted"] > 0
    with Lake.open(LakeSettings(path=path), read_only=True) as lake:
        assert lake.query("FROM power ORDER BY ALL").equals(before)
        assert lake.committed_windows("run-a") == [0, 1, 2, 3]
