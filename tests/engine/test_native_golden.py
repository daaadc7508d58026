"""The native engine gives what OpenDC gave: every golden scenario, within the bounds of ``opendt.engine.compare``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opendt.engine.base import simulate
from opendt.engine.compare import compare_folder
from opendt.engine.experiment import load_inputs, read_scenarios
from opendt.engine.native.engine import NativeEngine

GOLDEN = Path(__file__).parents[1] / "golden"
SHARED = Path(os.environ.get("OPENDT_SHARED", Path(__file__).parents[3] / "shared")) / "opendc/golden"
SCENARIOS = sorted(path.name for path in GOLDEN.iterdir() if (path / "experiment.json").exists())


@pytest.mark.parametrize("name", SCENARIOS)
def test_generated_scenario_agrees_with_opendc(name):
    outcome = compare_folder(NativeEngine(), GOLDEN / name, strict=True)
    assert outcome.why == []
    assert outcome.skipped is None


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "cartesian"])
def test_exact_procedure_gives_every_value_opendc_gave(name):
    folder = GOLDEN / name
    inputs = load_inputs(read_scenarios(folder / "experiment.json")[0])
    options = replace(inputs.options, host_every=1, task_rows=True, exact=True)
    result = simulate(NativeEngine(), inputs.topology, inputs.workload, options, inputs.carbon)
    for file, key in (("powerSource", "source_name"), ("service", None), ("host", "host_name"), ("task", "task_id")):
        actual = {"powerSource": result.power_source}.get(file) or getattr(result, file)
        assert_same(pq.read_table(folder / "expected" / f"{file}.parquet"), actual, key)
    if (folder / "expected/battery.parquet").exists():
        assert_same(pq.read_table(folder / "expected/battery.parquet"), result.battery, "battery_name")


def assert_same(expected, actual, key):
    """Every column equal; numbers with a fraction to float32 precision. Rows of one time are in no order."""
    order = [("timestamp", "ascending")] + ([(key, "ascending")] if key else [])
    expected, actual = expected.sort_by(order), actual.sort_by(order)
    assert actual.schema.remove_metadata() == expected.schema.remove_metadata()
    assert actual.num_rows == expected.num_rows
    for name in expected.column_names:
        a, b = actual[name], expected[name]
        if pa.types.is_floating(b.type):
            np.testing.assert_allclose(a.to_numpy(), b.to_numpy(), rtol=3e-7, atol=1e-6, err_msg=name)
        elif name != "task_name":  # readers give tasks without a name their id
            assert a.equals(b), name


@pytest.mark.parametrize("name", ["bitbrains_small", "surf_24h"])
def test_recorded_trace_agrees_with_opendc(name):
    if not (SHARED / name).is_dir():
        pytest.skip("no recorded traces beside the project (../shared/opendc/golden, or OPENDT_SHARED)")
    assert compare_folder(NativeEngine(), SHARED / name).why == []
