"""Accuracy of generated and recorded traces, through library and command."""

import os
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from opendt.calibration.recorded import simulated_trace
from opendt.cli import app
from opendt.errors import TraceError
from opendt.reports.accuracy import trace_accuracy
from opendt.settings import load_settings
from opendt.traces.synthetic import SyntheticOptions, make_trace

SHARED = Path(os.environ.get("OPENDT_SHARED", Path(__file__).parents[3] / "shared"))
SURF = SHARED / "traces" / "surf"
needs_surf = pytest.mark.skipif(not SURF.exists(), reason=f"the SURF trace is not in {SURF}")

HIDDEN = ("active", "step", "piecewise", "mse", "linear", "sqrt", "square", "cubic", "asymptotic", "constant")


def made(folder, **options):
    return make_trace(folder / "trace", SyntheticOptions(**{"days": 2, "hosts": 40, "seed": 1} | options)).path


def measure(path, **options):
    return trace_accuracy(path, load_settings(environment={}), methods=("online",), **options)


@pytest.mark.parametrize("curve", HIDDEN)
def test_hidden_curves_come_within_reach_of_the_noise_floor(curve, tmp_path):
    found = measure(made(tmp_path, curve=curve))
    assert found["methods"]["online"]["mape_pct"] < found["noise_floor_pct"] + 0.3
    assert abs(found["methods"]["online"]["bias_pct"]) < 0.3
    assert found["drift"] == []


@pytest.mark.parametrize(
    "options",
    [
        {"host_types": 2},
        {"noise_pct": 5.0},
        {"gaps": 8},
        {"noise_pct": 2.0, "gaps": 4, "host_types": 2, "curve": "piecewise"},
        {"interval_s": 60},
    ],
    ids=["two host types", "five percent noise", "gaps", "all together", "another cadence"],
)
def test_the_same_defaults_serve_every_cluster(options, tmp_path):
    found = measure(made(tmp_path, **options))
    assert found["methods"]["online"]["mape_pct"] < found["noise_floor_pct"] + 0.3
    assert found["methods"]["online"]["band_coverage_pct"] == pytest.approx(90, abs=3)


@pytest.mark.parametrize("change", [5.0, -5.0])
def test_drift_in_the_middle_is_found_within_six_hours(change, tmp_path):
    found = measure(made(tmp_path, drift_at_hour=30.0, drift_pct=change))
    (event,) = found["drift"]
    truth = orjson.loads((tmp_path / "trace" / "truth.json").read_bytes())["drift"]
    assert 0 <= event["found_ms"] - truth["at_ms"] < 6 * 3_600_000
    assert event["size_pct"] == pytest.approx(change, abs=1)
    assert found["methods"]["online"]["mape_pct"] < found["noise_floor_pct"] + 0.3


@pytest.mark.slow
def test_no_false_alarm_in_a_quiet_month(tmp_path):
    assert measure(made(tmp_path, days=30, hosts=20))["drift"] == []


def test_a_trace_without_power_is_refused(tmp_path):
    path = made(tmp_path, days=0.2)
    (path / "consumption.parquet").unlink()
    with pytest.raises(TraceError, match="no measured power"):
        simulated_trace(path, load_settings(environment={}))


def test_the_command_prints_one_object(tmp_path):
    path = made(tmp_path, days=0.5)
    result = CliRunner().invoke(app, ["accuracy", "--trace", str(path), "--json", "--method", "online"])
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)
    assert set(found["methods"]["online"]) == {
        "samples", "mape_pct", "mape_5min_pct", "mape_hourly_pct", "under_5_pct", "under_10_pct", "bias_pct",
        "band_coverage_pct", "band_width_pct",
    }  # fmt: skip
    assert {"drift", "wall_s", "noise_floor_pct", "published"} <= set(found)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--trace", "x", "--run", "y"], ["--trace", "x", "--lead", "soon"], ["--trace", "x", "--method", "magic"]],
)
def test_bad_arguments_end_with_exit_code_two(arguments):
    assert CliRunner().invoke(app, ["accuracy", *arguments]).exit_code == 2


@needs_surf
def test_surf_week_an_hour_ahead():
    found = trace_accuracy(SURF, load_settings(environment={}), methods=("online", "grid"))
    online = found["methods"]["online"]
    assert online["samples"] == 19_920
    assert online["mape_pct"] <= 0.9
    assert online["under_5_pct"] >= 98
    assert abs(online["bias_pct"]) <= 0.3
    assert 88 <= online["band_coverage_pct"] <= 92
    assert found["methods"]["persistence_last"]["mape_pct"] == pytest.approx(2.88, abs=0.01)
    assert found["methods"]["grid"]["mape_pct"] < 4.39


@needs_surf
def test_surf_week_a_day_ahead():
    online = measure(SURF, lead_h=24)["methods"]["online"]
    assert online["mape_pct"] <= 1.25
    assert 88 <= online["band_coverage_pct"] <= 92
    assert online["band_width_pct"] <= 7
