"""Generated traces: the same seed the same bytes, SURF-like statistics, a truth that explains the meter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.errors import ConfigError, TraceError
from opendt.power.curves import power_w
from opendt.traces import read_trace
from opendt.traces.synthetic import SyntheticOptions, make_trace
from opendt.traces.synthetic.cluster import hidden_model, hidden_topology, make_topology
from opendt.traces.synthetic.grid import make_carbon
from opendt.traces.synthetic.jobs import make_workload
from opendt.traces.synthetic.meter import true_power
from opendt.traces.synthetic.options import CURVES
from opendt.units import MS_PER_HOUR

SMALL = SyntheticOptions(days=1, hosts=8, seed=5)


@pytest.fixture(scope="module")
def week():
    """The workload of the default week."""
    return make_workload(SyntheticOptions(), np.random.default_rng(1))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "small"
    make_trace(folder, SMALL)
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_week_has_the_statistics_of_surf(week):
    tasks = week.tasks
    assert abs(len(tasks) - 7850) < 10
    assert 0.18 < (~week.runnable).mean() < 0.23
    assert 1_700_000 < len(week.fragments) < 2_800_000  # SURF: 2,323,475
    run_s = tasks.duration_ms[week.runnable] / 1000
    assert np.percentile(run_s, [25, 50, 90]) == pytest.approx([43, 73, 17_000], rel=0.2)
    assert 0.85 < (tasks.cpu_count[week.runnable] == 16).mean() < 0.96
    assert (tasks.submission_ms == tasks.submission_ms[0]).sum() > 60  # SURF: 122 running at the start
    assert (tasks.duration_ms[~week.runnable] < 30_000).mean() > 0.99


def test_weekdays_and_working_hours_are_busier(week):
    hour = (week.tasks.submission_ms - SyntheticOptions().start_ms)[150:] // MS_PER_HOUR
    per_day = np.bincount(hour // 24, minlength=7)  # begins on a Monday
    assert per_day[:5].mean() > 1.3 * per_day[5:].mean()
    clock = np.bincount(hour % 24, minlength=24)
    assert clock[9:17].mean() > 4 * clock[0:6].mean()


def test_demand_is_within_the_reserved_cores_and_changes_slowly(week):
    capacity = np.repeat(week.tasks.cpu_capacity_mhz, week.tasks.fragment_count)
    share = week.fragments.cpu_usage_mhz / capacity
    assert share.min() >= 0
    assert share.max() <= 1
    assert (share > 0.9).mean() > 0.3
    assert (share < 0.15).mean() > 0.15
    longest = int(np.argmax(week.tasks.fragment_count))
    begin = int(week.tasks.fragment_count[:longest].sum())
    one = share[begin : begin + int(week.tasks.fragment_count[longest])]
    assert np.corrcoef(one[1:], one[:-1])[0, 1] > 0.5


def test_everything_lies_inside_the_recording(week):
    options = SyntheticOptions()
    tasks = week.tasks
    assert tasks.submission_ms.min() == options.start_ms
    assert np.all(np.diff(tasks.submission_ms) >= 0)
    assert np.all(tasks.submission_ms + tasks.fragment_count * 30_000 <= options.end_ms)
    assert tasks.fragment_count[0] > 0


@pytest.mark.parametrize("options", [
    SyntheticOptions(days=0.02, hosts=1, seed=9), SyntheticOptions(days=1, hosts=3, tasks_per_day=1),
    SyntheticOptions(days=0.5, hosts=2, cores=1, interval_s=300), SyntheticOptions(days=2, hosts=5, tasks_per_day=900),
])  # fmt: skip
def test_unusual_sizes_work(options):
    workload = make_workload(options, np.random.default_rng(0))
    assert len(workload.tasks) == options.task_count
    assert workload.runnable[0]
    assert workload.tasks.cpu_count.max() <= options.cores


def test_carbon_covers_the_recording_every_15_minutes_and_is_lowest_at_noon():
    options = SyntheticOptions(days=30)
    carbon = make_carbon(options, np.random.default_rng(0))
    assert set(np.diff(carbon.timestamp_ms)) == {15 * 60_000}
    assert carbon.timestamp_ms[0] < options.start_ms
    assert carbon.timestamp_ms[-1] > options.end_ms
    assert carbon.intensity_g_per_kwh.min() > 0
    hour = carbon.timestamp_ms // MS_PER_HOUR % 24
    mean = [carbon.intensity_g_per_kwh[hour == h].mean() for h in range(24)]
    assert 10 <= int(np.argmin(mean)) <= 16


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_is_a_valid_power_model_unlike_the_datasheet(curve):
    options = replace(SMALL, curve=curve, host_types=3)
    hidden, sheet = hidden_topology(options), make_topology(options)
    assert hidden.host_count == sheet.host_count == 8
    models = [[host.cpuPowerModel for host in t.clusters[0].hosts] for t in (hidden, sheet)]
    assert len(models[0]) == 3
    assert all(a != b for a, b in zip(*models, strict=True))
    assert hidden_model(curve).maxPower == 168.0


def test_same_seed_gives_the_same_bytes_and_another_seed_others(small, tmp_path):
    make_trace(tmp_path / "small", SMALL)
    make_trace(tmp_path / "other", replace(SMALL, seed=6))
    assert digest(tmp_path / "small") == digest(small)
    assert digest(tmp_path / "other")["tasks.parquet"] != digest(small)["tasks.parquet"]


def test_curve_noise_and_drift_leave_the_workload_as_it_is(small, tmp_path):
    make_trace(tmp_path / "o", replace(SMALL, curve="linear", noise_pct=2.0, drift_at_hour=6, drift_pct=10, gaps=3))
    ours, theirs = digest(tmp_path / "o"), digest(small)
    for name in ("tasks.parquet", "fragments.parquet", "carbon.parquet", "topology.json"):
        assert ours[name] == theirs[name]
    assert ours["consumption.parquet"] != theirs["consumption.parquet"]


def test_made_trace_reads_without_repairs(small):
    trace = read_trace(small)
    assert (trace.report.dropped, trace.report.repaired) == ({}, {})
    assert trace.topology.host_count == 8
    assert trace.power.timestamp_ms[0] == trace.origin_ms + 30_000
    assert set(np.diff(trace.power.timestamp_ms)) == {30_000}
    assert len(trace.power) == 2879  # one day, first sample after 30 s, end exclusive
    workload = make_workload(SMALL, np.random.default_rng(np.random.SeedSequence(5).spawn(3)[0]))
    for column in fields(workload.fragments):
        a, b = getattr(workload.fragments, column.name), getattr(trace.workload.fragments, column.name)
        np.testing.assert_array_equal(a, b, err_msg=column.name)


def test_truth_explains_the_meter_up_to_its_noise(small):
    trace, truth = read_trace(small), json.loads((small / "truth.json").read_text())
    times, watts = true_power(SMALL, hidden_topology(SMALL), trace.workload)
    at = np.searchsorted(times, trace.power.timestamp_ms)
    error_pct = 100 * np.mean(np.abs(watts[at] / trace.power.power_w - 1))
    assert error_pct == pytest.approx(truth["floor_mape_pct"], rel=1e-6)
    assert error_pct == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.1)  # mean of |normal noise| of 0.5 %
    idle_w, max_w = (8 * truth["hidden_power_models"][0][key] for key in ("idlePower", "maxPower"))
    assert idle_w * 0.98 < trace.power.power_w.min() < trace.power.power_w.max() < max_w * 1.02


def test_datasheet_power_is_wrong_by_more_than_the_noise(small):
    trace = read_trace(small)
    times, watts = true_power(SMALL, trace.topology, trace.workload)
    at = np.searchsorted(times, trace.power.timestamp_ms)
    assert 100 * np.mean(np.abs(watts[at] / trace.power.power_w - 1)) > 2


def test_drift_raises_power_from_its_hour_on(tmp_path):
    make_trace(tmp_path / "a", replace(SMALL, noise_pct=0))
    made = make_trace(tmp_path / "b", replace(SMALL, noise_pct=0, drift_at_hour=12, drift_pct=10))
    a, b = (read_trace(tmp_path / name).power for name in "ab")
    late = a.timestamp_ms > SMALL.start_ms + 12 * MS_PER_HOUR
    np.testing.assert_array_equal(a.power_w[~late], b.power_w[~late])
    np.testing.assert_allclose(b.power_w[late], 1.1 * a.power_w[late], rtol=1e-3)
    assert made.floor_mape_pct < 0.05
    assert json.loads((tmp_path / "b" / "truth.json").read_text())["drift"]["at"] == "2024-01-01T12:00:00Z"


def test_gaps_are_missing_samples_and_told(tmp_path):
    make_trace(tmp_path / "g", replace(SMALL, gaps=2))
    power = read_trace(tmp_path / "g").power
    told = json.loads((tmp_path / "g" / "truth.json").read_text())["gaps_ms"]
    step = np.diff(power.timestamp_ms)
    holes = [[int(power.timestamp_ms[i]) + 30_000, int(power.timestamp_ms[i + 1]) - 30_000]
             for i in np.flatnonzero(step > 30_000)]  # fmt: skip
    assert holes == told
    assert 1 <= len(holes) <= 2


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"days": 0}, "days"),
        ({"hosts": 0}, "hosts"),
        ({"curve": "magic"}, "curve"),
        ({"noise_pct": -1}, "noise_pct"),
        ({"host_types": 9}, "host_types"),
        ({"drift_at_hour": 25.0}, "drift_at_hour"),
        ({"interval_s": 0}, "interval_s"),
        ({"tasks_per_day": 0.0}, "tasks_per_day"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_out_of_range_are_named(change, name):
    with pytest.raises(ConfigError, match=name):
        replace(SMALL, **change)


def test_full_folder_is_kept_without_force(small):
    before = digest(small)
    with pytest.raises(TraceError, match="--force"):
        make_trace(small, SMALL)
    assert digest(small) == before


def test_command_makes_a_trace(tmp_path):
    words = ["trace", "make", str(tmp_path / "t"), "--days", "0.2", "--hosts", "4", "--curve", "step", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert made["fragments"] == read_trace(tmp_path / "t").report.fragments
    assert CliRunner().invoke(app, words).exit_code == 2
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0
    assert CliRunner().invoke(app, [*words[:3], "--curve", "magic"]).exit_code == 2


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_and_several_host_types_can_be_metered(tmp_path, curve):
    options = SyntheticOptions(days=0.1, hosts=7, host_types=3, cores=8, curve=curve, noise_pct=0, seed=2)
    make_trace(tmp_path / "t", options)
    trace = read_trace(tmp_path / "t")
    hosts = hidden_topology(options).clusters[0].hosts
    idle_w = sum(host.count * float(power_w(host.cpuPowerModel, 0.0)) for host in hosts)
    ceiling_w = sum(host.count * float(power_w(host.cpuPowerModel, np.linspace(0, 1, 200)).max()) for host in hosts)
    assert idle_w - 0.1 <= trace.power.power_w.min()
    assert trace.power.power_w.max() <= ceiling_w + 0.1
    assert [host.count for host in trace.topology.clusters[0].hosts] == [3, 2, 2]
