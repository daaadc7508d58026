"""Figures: images with content, the same bytes for the same data, and numbers that agree with the lake."""

from __future__ import annotations

import io
import json

import matplotlib.dates
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
                  "on": True, "none": [], "text": "x",
                  "drift": [{"since_ms": 1, "found_ms": 2, "size_pct": -1.5, "hours": [20, 21]}]}  # fmt: skip
    assert data._strips(parameters) == {
        "factor": {"": 9.0},
        "groups.H.levels_w": {"0": 50.0, "1": 60.5},
        "groups.H.step_w": {"": 3.0},
        "weights": {"a": 0.1, "b": 0.9},
    }


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def calibrated(lake, parameters: dict) -> dict:
    lake.start_run("r", "dc", "pipeline")
    lake.insert("calibrations", [
        {"run_id": "r", "datacenter": "dc", "window_index": n, "calibration_id": f"c-{n}", "published": True,
         "trained_until_ms": 1_700_000_000_000 + n * 3_600_000, "score_mape_pct": 1.0, "created_ms": n,
         "parameters_json": json.dumps(parameters)} for n in range(4)
    ])  # fmt: skip
    return data.find_run(lake, "r")


def test_drift_is_marked_on_the_strips_of_the_parameters(empty_lake):
    since = 1_700_000_000_000 + 2 * 3_600_000
    drift = {"since_ms": since, "found_ms": since + 60_000, "size_pct": -1.65, "groups": {}, "hours": [20]}
    figure = figures.calibration_figure(empty_lake, calibrated(empty_lake, {"factor": 9, "drift": [drift]}))
    assert [axes.get_title() for axes in figure.axes] == ["factor", ""]
    assert texts(figure) == [" drift -1.6 % "]
    for axes in figure.axes:
        at = [matplotlib.dates.date2num(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "--"]
        assert at == [matplotlib.dates.date2num(np.datetime64(since, "ms"))]
    assert pixels(figures.calibration_png(empty_lake, "r")).shape[1] == 400


def test_a_calibration_without_parameters_says_so(empty_lake):
    drift = [{"since_ms": 0, "found_ms": 0, "size_pct": 1.0, "groups": {}, "hours": []}]
    assert texts(figures.calibration_figure(empty_lake, calibrated(empty_lake, {"drift": drift}))) == [
        "no calibration parameters"
    ]


@pytest.mark.parametrize(
    ("energies", "text"),
    [
        ([], "no proposals"),
        ([None, None], "none of 2 proposals was simulated"),
        ([100.0, 100.0], "none of 2 proposals changes the energy by 0.05 % or more"),
        ([100.0], "the only proposal does not change the energy by 0.05 % or more"),
    ],
)
def test_proposals_without_effect_are_told_in_a_sentence(empty_lake, energies, text):
    empty_lake.start_run("r", "dc", "pipeline")
    rows = [
        {"proposal_id": f"p-{n}", "run_id": "r", "datacenter": "dc", "strategy": "rules", "created_ms": n,
         "energy_kwh": energy, "baseline_energy_kwh": energy and 100.0} for n, energy in enumerate(energies)
    ]  # fmt: skip
    empty_lake.insert("proposals", rows)
    figure = figures.proposals_figure(empty_lake, data.find_run(empty_lake, "r"))
    assert texts(figure) == [text]


def test_proposals_with_an_effect_are_drawn_beside_those_without(empty_lake):
    empty_lake.start_run("r", "dc", "pipeline")
    rows = [
        {"proposal_id": f"p-{n}", "run_id": "r", "datacenter": "dc", "strategy": "rules", "created_ms": n,
         "energy_kwh": energy, "baseline_energy_kwh": 100.0} for n, energy in enumerate([80.0, 100.0])
    ]  # fmt: skip
    empty_lake.insert("proposals", rows)
    figure = figures.proposals_figure(empty_lake, data.find_run(empty_lake, "r"))
    assert texts(figure) == ["+20.0 %", "+0.0 %"]
