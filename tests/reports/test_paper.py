"""The published experiments on a generated trace: files, and numbers worked out another way."""

import csv

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from opendt.calibration.recorded import simulate_recorded
from opendt.cli import app
from opendt.reports.paper import FIGURES, rolling_mape
from opendt.settings import load_settings
from opendt.traces.synthetic import SyntheticOptions, make_trace

SETTINGS = load_settings(environment={})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    trace = make_trace(folder / "trace", SyntheticOptions(days=1, hosts=30, seed=4)).path
    arguments = ["report", "paper", "--trace", str(trace), "--out", str(folder / "out"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return trace, folder / "out", orjson.loads(result.stdout)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def column(table, name):
    return np.array([float(row[name] or "nan") for row in table])


def test_every_figure_comes_as_png_and_pdf(written):
    _, out, found = written
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert len(found["files"]) == 2 * len(FIGURES) + 3


def test_scores_in_the_csv_are_those_reported(written):
    _, out, found = written
    table = {row["method"]: row for row in rows(out / "scores.csv")}
    assert set(table) == set(found["methods"])
    for name, score in found["methods"].items():
        assert float(table[name]["mape_pct"]) == pytest.approx(score["mape_pct"], rel=1e-4)


def test_samples_give_the_same_error_again(written):
    _, out, found = written
    table = rows(out / "power_over_time.csv")
    predicted, measured = column(table, "online_w"), column(table, "measured_w")
    counted = np.array([row["time"] >= "2024-01-01T02" for row in table]) & np.isfinite(measured)
    error = np.abs(predicted / measured - 1)[counted].mean() * 100
    assert error == pytest.approx(found["methods"]["online"]["mape_pct"], abs=0.01)


def test_hours_add_up(written):
    trace, out, _ = written
    samples, hours = rows(out / "power_over_time.csv"), rows(out / "hours.csv")
    watts = column([s for s in samples if s["time"][:13] == "2024-01-01T05"], "measured_w")
    fifth = next(h for h in hours if h["time"] == "2024-01-01T05:00:00Z")
    assert float(fifth["energy_measured_kwh"]) == pytest.approx(watts.mean() / 1e3, rel=1e-4)
    assert float(fifth["jobs_per_kwh"]) == pytest.approx(
        float(fifth["jobs_completed"]) / float(fifth["energy_measured_kwh"]), rel=1e-4
    )
    _, result = simulate_recorded(trace, SETTINGS)
    events = result.task_events.to_pylist()
    done = sum(e["event"] == "completed" and e["time_ms"] // 3_600_000 % 24 == 5 for e in events)
    assert float(fifth["jobs_completed"]) == done


def test_utilization_is_a_share(written):
    _, out, _ = written
    used = column(rows(out / "power_over_time.csv"), "utilization_ratio")
    assert ((used >= 0) & (used <= 1)).all()
    assert used.max() > 0.05


def test_error_by_hour_by_hand():
    times = np.arange(0, 7_200_000, 1_800_000)
    found = rolling_mape(times, np.array([110.0, 90, 100, 50]), np.array([100.0, 100, 0, np.nan]))
    assert found[0] == pytest.approx(10)
    assert np.isnan(found[1])


def test_the_command_prints_one_object(written):
    assert set(written[2]) == {"trace", "files", "methods", "published", "wall_s"}
