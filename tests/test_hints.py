"""Commands that a run recommends can be copied into a shell, whatever its folders are called."""

from __future__ import annotations

import shlex

from typer.testing import CliRunner

from opendt.cli import app
from opendt.cli.run import hints


def test_hints_name_the_lake_of_the_run_quoted_for_the_shell():
    lines = hints("run-1", "/tmp/my lake; rm x")
    parsed = [shlex.split(line, comments=True) for line in lines]
    assert [words[1] for words in parsed] == ["sql", "api", "up"]
    for words in parsed:
        assert words[-2:] == ["--lake", "/tmp/my lake; rm x"]


def test_hints_leave_out_the_lake_that_is_the_default():
    assert not any("--lake" in line for line in hints("run-1", "data/lake"))


def test_the_query_is_of_that_run_in_the_order_of_time():
    query = shlex.split(hints("run-1", "data/lake")[0], comments=True)[2]
    assert "run_id = 'run-1' order by hour" in query


def test_a_trace_folder_with_a_space_is_quoted(tmp_path):
    folder = tmp_path / "my trace"
    result = CliRunner().invoke(app, ["trace", "make", str(folder), "--days", "0.1", "--hosts", "3"])
    assert result.exit_code == 0, result.output
    assert shlex.split(result.output.splitlines()[-1]) == ["next:", "opendt", "run", "--trace", str(folder)]
