"""Figures: images with content, the same bytes for the same data, and numbers that agree with the lake."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from opendt.errors import InputError
from opendt.reports import data, figures


def pixels(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_draws_a_finished_run(lake, name):
    image = pixels(getattr(figures, f"{name}_png")(lake, "done"))
    assert image.shape[1] == 400  # 10 inches at 40 dots per inch
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20  # more than an empty frame


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_draws_a_run_without_calibration_or_proposals(lake, name):
    assert pixels(getattr(figures, f"{name}_png")(lake, "going")).shape[1] == 400


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_draws_a_run_without_windows(empty_lake, name):
    empty_lake.start_run("new", "dc", "pipeline")
    assert pixels(getattr(figures, f"{name}_png")(empty_lake, "new")).shape[1] == 400


def test_same_data_give_the_same_bytes(lake):
    run = data.find_run(lake, "done")
    first, second = (figures.render(figures.accuracy_figure, lake, run, "png", "pdf", "svg") for _ in range(2))
    assert (first["png"], first["pdf"]) == (second["png"], second["pdf"])
    assert first["pdf"].startswith(b"%PDF")
    assert b"<svg" in first["svg"]


def test_two_runs_give_different_figures(lake):
    assert figures.power_png(lake, "done") != figures.power_png(lake, "going")


def test_unknown_run_names_the_latest_ones(lake):
    with pytest.raises(InputError, match=r"run 'no' is not in the lake\. The latest are: going, done"):
        figures.power_png(lake, "no")


def test_empty_lake_says_what_to_do(empty_lake):
    with pytest.raises(InputError, match="opendt demo"):
        data.find_run(empty_lake, "no")
    with pytest.raises(InputError, match="opendt demo"):
        data.latest_run_id(empty_lake)


def test_run_with_several_datacenters_asks_which(empty_lake):
    for datacenter in ("a", "b"):
        empty_lake.start_run("r", datacenter, "twin")
    with pytest.raises(InputError, match="has datacenters a, b: name one"):
        data.find_run(empty_lake, "r")
    assert data.find_run(empty_lake, "r", "b")["datacenter"] == "b"


def test_hourly_carbon_adds_up_to_the_total_of_the_run(lake):
    run = data.find_run(lake, "done")
    found = data.carbon(lake, run)
    assert found["so_far_kg"][-1] == pytest.approx(run["carbon_kg"])
    assert np.cumsum(found["carbon_kg"]) == pytest.approx(found["so_far_kg"])


def test_accuracy_totals_agree_with_the_run(lake):
    run = data.find_run(lake, "done")
    totals = data.accuracy_totals(lake, run)
    for name in ("mape_pct", "uncalibrated_mape_pct", "persistence_mape_pct"):
        assert totals[name] == pytest.approx(run[name])


def test_power_steps_keep_the_mean_of_the_samples(lake):
    run = data.find_run(lake, "done")
    raw = lake.rows("SELECT timestamp_ms, simulated_w FROM power_samples WHERE run_id = 'done' ORDER BY 1")
    found = data.power(lake, run)
    step = data.bucket_ms(12 * 3_600_000)
    first = [r["simulated_w"] for r in raw if r["timestamp_ms"] // step == raw[0]["timestamp_ms"] // step]
    assert found["simulated_w"][0] == pytest.approx(np.mean(first))


@pytest.mark.parametrize(
    ("span_ms", "step_ms"), [(0, 1_000), (3_600_000, 5_000), (604_800_000, 600_000), (10**15, 86_400_000)]
)
def test_steps_are_round_and_bounded(span_ms, step_ms):
    assert data.bucket_ms(span_ms) == step_ms


def test_parameters_that_belong_together_share_a_strip():
    parameters = {"factor": 9, "groups": {"H": {"levels_w": [50, 60.5], "step_w": 3}}, "weights": {"a": 0.1, "b": 0.9},
                  "on": True, "none": [], "text": "x"}  # fmt: skip
    assert data._strips(parameters) == {
        "factor": {"": 9.0},
        "groups.H.levels_w": {"0": 50.0, "1": 60.5},
        "groups.H.step_w": {"": 3.0},
        "weights": {"a": 0.1, "b": 0.9},
    }
