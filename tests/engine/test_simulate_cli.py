"""``opendt simulate`` and ``opendt bench simulate`` on a small trace."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from opendt.cli import app

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def trace(tmp_path) -> Path:
    """The golden scenario ``two_host_types`` as a trace folder."""
    folder = tmp_path / "trace"
    folder.mkdir()
    scenario = GOLDEN / "two_host_types"
    for name in ("tasks.parquet", "fragments.parquet"):
        (folder / name).write_bytes((scenario / "workload" / name).read_bytes())
    (folder / "topology.json").write_bytes((scenario / "topology.json").read_bytes())
    return folder


def ran(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result, result.stdout


@pytest.mark.parametrize("exact", [[], ["--exact"]])
def test_simulate_tells_energy_and_writes_opendcs_tables(trace, tmp_path, exact):
    result, text = ran("simulate", "--trace", trace, "--interval", 30, "--out", tmp_path / "out", "--json", *exact)
    assert result.exit_code == 0
    summary = json.loads(text)
    expected = pq.read_table(GOLDEN / "two_host_types/expected/powerSource.parquet")
    assert summary["energy_kwh"] == pytest.approx(sum(expected["energy_usage"].to_pylist()) / 3.6e6, rel=1e-6)
    assert summary["peak_power_w"] == pytest.approx(max(expected["power_draw"].to_pylist()))
    assert summary["makespan_s"] * 1000 == max(expected["timestamp"].to_pylist())
    assert summary["tasks_run"] + summary["tasks_dropped"] == 50
    assert {"carbon_kg", "wall_s", "mean_wait_s", "tasks_terminated"} <= summary.keys()
    for name in ("host", "task", "powerSource", "service"):
        written = pq.read_schema(tmp_path / "out" / f"{name}.parquet")
        assert written.equals(pq.read_schema(GOLDEN / "two_host_types/expected" / f"{name}.parquet"))


def test_simulate_prints_a_table_for_people(trace):
    result, text = ran("simulate", "--trace", trace)
    assert result.exit_code == 0
    assert "energy [kWh]" in text


def test_simulate_without_topology_says_what_to_do(trace):
    (trace / "topology.json").unlink()
    result, _ = ran("simulate", "--trace", trace)
    assert result.exit_code == 2
    assert "--topology" in result.stderr


def test_simulate_of_a_run_that_cannot_end_exits_with_one_line(trace):
    (trace / "topology.json").write_text(
        json.dumps({"clusters": [{"hosts": [
            {"cpu": {"coreCount": 64, "coreSpeed": 1000}, "memory": {"memorySize": 1}},
            {"cpu": {"coreCount": 1, "coreSpeed": 1000}, "memory": {"memorySize": 10**9}},
        ]}]})
    )  # fmt: skip
    result, _ = ran("simulate", "--trace", trace)
    assert result.exit_code == 1
    assert "the run can never end" in result.stderr


def test_bench_measures_every_figure(trace):
    result, text = ran("bench", "simulate", "--trace", trace, "--repeat", 1, "--json")
    assert result.exit_code == 0
    found = json.loads(text)
    assert found["energy_kwh"] > 0
    for key in ("cold_s", "warm_s", "windowed_s", "trials_per_s", "peak_rss_mb"):
        assert found[key] > 0, key
