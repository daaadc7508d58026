"""The README's commands do what it says, on a smaller week than the reader's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPENDT = Path(sys.executable).parent / "opendt"
README = (ROOT / "README.md").read_text()


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run([OPENDT, *arguments], cwd=cwd, capture_output=True, text=True, timeout=240, env=environment)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A folder in which the demo has run, its trace under the name the README uses."""
    folder = tmp_path_factory.mktemp("readme")
    done = call("demo", "--days", "1", "--hosts", "20", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    for line in ("windows", "tasks", "energy", "error (MAPE)", "persistence", "wall time", "Next:"):
        assert line in done.stdout
    hint = next(line for line in done.stdout.splitlines() if "opendt sql" in line)
    hours = json.loads(call(*shlex.split(hint, comments=True)[1:], "--json", cwd=folder).stdout)
    assert len(hours) == 24
    assert hours == sorted(hours, key=lambda row: row["hour"])
    (folder / "data/traces/demo/1d-20h-1").rename(folder / "data/traces/demo/7d-277h-1")
    return folder


def test_the_two_commands_stand_at_the_top():
    first = re.search(r"```\n(.*?)```", README, re.DOTALL)
    assert first
    assert [line.split("#")[0].strip() for line in first.group(1).splitlines()] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", commands(), ids=lambda c: c[1])
def test_every_command_of_the_tour_runs(demo, command):
    program, *arguments = command
    assert program == "opendt"
    if "--set" in arguments:  # the reader's cluster has 277 hosts, this one 20
        arguments[-1] = "clusters[0].hosts[0].count=18"
    done = call(*arguments, cwd=demo)
    # doctor reports what a machine lacks with exit code 1; it must still have looked
    assert done.returncode == 0 or (arguments[0] == "doctor" and done.returncode == 1), done.stderr[-2000:]
    assert done.stdout.strip()
