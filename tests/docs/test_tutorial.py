"""The tutorial's programs and commands do what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from opendt.stream.broker import embedded_broker

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
OPENDT = Path(sys.executable).parent / "opendt"


def opendt(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [OPENDT, *arguments], cwd=cwd, capture_output=True, text=True, timeout=240, env=os.environ | {"NO_COLOR": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_plain_producer_feeds_the_twin(tmp_path):
    with embedded_broker() as address:
        subprocess.run([sys.executable, EXAMPLES / "producer.py", address], check=True, timeout=60)
        out = opendt(
            "twin", "--kafka", address, "--topology", str(EXAMPLES / "topology.json"), "--max-windows", "3",
            "--lake", str(tmp_path / "lake"), "--json", cwd=tmp_path,
        )  # fmt: skip
    summary = json.loads(out)
    assert (summary["windows"], summary["tasks_run"], summary["fragments"]) == (3, 3, 240)
    assert summary["dead_letters"] == summary["late_records"] == 0
    assert summary["energy_measured_kwh"] == pytest.approx((2400 * 310 + 1200 * 160) * 3 / 3.6e6, rel=0.02)
    assert summary["mape_pct"] < summary["persistence_mape_pct"]


def test_bash_blocks_of_the_tutorial_run(tmp_path):
    text = (ROOT / "docs" / "tutorial.md").read_text()
    commands = [
        line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line
    ]
    assert len(commands) >= 4
    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == "opendt"
        assert opendt(*arguments, cwd=tmp_path)
