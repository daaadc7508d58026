"""What calibration costs on a trace, and how good its bands are there and on generated weeks.

Usage: python benchmarks/bench_calibration.py [--trace DIR] [--trials 1000] [--weeks 3] [--out FILE]

Costs: pricing trials, a Bayesian search, a walk-forward evaluation, state per window. Without --trace a week of 277
hosts is generated. Times are the best of three, on the machine described in the result; that of `online_walk_day_s`
has the band a day ahead in it.

Bands: coverage, width and interval score, an hour and a day ahead, of the trace and of ``--weeks`` generated weeks of
each kind, means over the weeks. Coverage alone is bought with width; the score charges both.

References: [1] T. Gneiting, A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", Journal of the
American Statistical Association 102 (2007), doi:10.1198/016214506000001437 (interval score, section 6.2).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import publish, surroundings
from scipy.signal import lfilter

from opendt.calibration.band import COVERAGE
from opendt.calibration.evaluate import Forecast, evaluate, hourly, walk_forward
from opendt.calibration.online import OnlineCalibrator
from opendt.calibration.recorded import simulated_trace
from opendt.calibration.samplers import make_sampler
from opendt.calibration.search import PricedObjective, default_space, search
from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.power.pricing import group_models, price_many
from opendt.reports.accuracy import trace_accuracy
from opendt.settings import load_settings
from opendt.traces.synthetic import SyntheticOptions, make_trace
from opendt.units import MS_PER_HOUR


def best_of(times: int, run: Callable[[], Any]) -> float:
    """Shortest wall time [s] of several runs."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


def measure(trace: Path, trials: int) -> dict[str, Any]:
    """All figures for one trace."""
    settings = load_settings(environment={})
    read, occupancy = simulated_trace(trace, settings)
    assert read.topology is not None
    assert read.power is not None
    space = default_space(read.topology)
    objective = PricedObjective(read.topology, occupancy, read.power)
    batch = make_sampler("random", space, 1).ask(trials)
    models = group_models(read.topology, occupancy.groups)
    factors = np.linspace(1.5, 9, trials)
    sets = [[m.model_copy(update={"calibrationFactor": float(f)}) for m in models] for f in factors]
    pricing_s = best_of(3, lambda: price_many(occupancy, sets))
    scoring_s = best_of(3, lambda: objective.score(batch))
    bayesian_s = best_of(1, lambda: search(make_sampler("bayesian", space, 1), objective, 100, batch=1))
    hours = hourly(occupancy, read.power)
    topology = read.topology
    calibrator = OnlineCalibrator(topology)
    walk_s = best_of(1, lambda: walk_forward(calibrator, hours))
    walk_day_s = best_of(1, lambda: walk_forward(OnlineCalibrator(topology), hours, 24))
    scores = {
        f"{lead}h": evaluate(
            read.topology, occupancy, read.power, settings.calibration, lead_h=lead, methods=("online",)
        )
        for lead in (1, 24)
    }
    command_s = best_of(3, lambda: trace_accuracy(trace, settings))
    return {
        "trace": read.name,
        "samples": len(occupancy.timestamp_ms),
        "pricing_trials_per_s": trials / pricing_s,
        "scored_trials_per_s": trials / scoring_s,
        "bayesian_100_trials_s": bayesian_s,
        "online_walk_s": walk_s,
        "online_ms_per_window": walk_s / len(hours) * 1e3,
        "online_walk_day_s": walk_day_s,
        "online_state_kb": len(calibrator.to_bytes()) / 1e3,
        "accuracy_command_s": command_s,
        "accuracy": {lead: found.scores["online"].to_dict() for lead, found in scores.items()},
        "bands": {f"{lead}h": band_figures(topology, occupancy, read.power, lead) for lead in (1, 24)},
    }


def interval_score_pct(forecast: Forecast, measured_w: NDArray[np.float64], counted: NDArray[np.bool_]) -> float:
    """Mean interval score [1] of the counted samples that have a band, relative to measured power [%]; less is better.

    The width of the band, and for a reading outside ``2 / (1 - coverage)`` times its distance from the band.
    """
    counted = counted & np.isfinite(forecast.low_w)
    low, high, measured = forecast.low_w[counted], forecast.high_w[counted], measured_w[counted]
    outside = np.maximum(low - measured, 0.0) + np.maximum(measured - high, 0.0)
    return float(np.mean((high - low + 2 / (1 - COVERAGE) * outside) / measured) * 100)


def band_figures(topology: Topology, occupancy: Occupancy, power: PowerSeries, lead_h: int) -> dict[str, float]:
    """Coverage [%], and width and interval score [% of power], of the online calibrator's band."""
    settings = load_settings(environment={}).calibration
    found = evaluate(topology, occupancy, power, settings, lead_h=lead_h, methods=("online",))
    score, forecast = found.scores["online"], found.forecasts["online"]
    assert score.band_coverage_pct is not None
    assert score.band_width_pct is not None
    return {
        "mape_pct": score.mape_pct,
        "coverage_pct": score.band_coverage_pct,
        "width_pct": score.band_width_pct,
        "interval_score_pct": interval_score_pct(forecast, found.measured_w, found.counted),
    }


def with_slow_errors(power: PowerSeries, seed: int) -> PowerSeries:
    """Power that strays by 1.5 % for about six hours at a time, as with fans or hosts the twin cannot see.

    A first-order autoregression in steps of a quarter of an hour, linear in between.
    """
    steps = np.arange(power.timestamp_ms[0], power.timestamp_ms[-1] + MS_PER_HOUR, MS_PER_HOUR // 4)
    keep = np.exp(-0.25 / 6.0)
    noise = 0.015 * np.random.default_rng(seed).normal(size=len(steps))
    noise[1:] *= np.sqrt(1 - keep**2)
    level = lfilter([1.0], [1.0, -keep], noise)
    return PowerSeries(power.timestamp_ms, power.power_w * (1 + np.interp(power.timestamp_ms, steps, level)))


KINDS: dict[str, dict[str, Any]] = {
    "quiet": {},
    "drift": {"drift_at_hour": 100.0, "drift_pct": 5.0},
    "noise, gaps, two host types": {"noise_pct": 2.0, "gaps": 8, "host_types": 2},
    "slow errors": {},
}


def generated_bands(weeks: int) -> dict[str, dict[str, dict[str, float]]]:
    """``band_figures`` by kind of week and lead, means over ``weeks`` seeds, each with a hidden curve of its own."""
    curves = ("active", "piecewise", "mse", "sqrt", "asymptotic", "step")
    settings = load_settings(environment={})
    found: dict[str, dict[str, dict[str, float]]] = {}
    for number, (kind, options) in enumerate(KINDS.items()):
        by_lead: dict[int, list[dict[str, float]]] = {1: [], 24: []}
        for week in range(weeks):
            seed = 100 * number + week
            with tempfile.TemporaryDirectory() as folder:
                made = SyntheticOptions(hosts=50, seed=seed, curve=curves[(number + week) % len(curves)], **options)
                read, occupancy = simulated_trace(make_trace(Path(folder) / "week", made).path, settings)
            assert read.topology is not None
            assert read.power is not None
            power = with_slow_errors(read.power, seed) if kind == "slow errors" else read.power
            for lead_h, figures in by_lead.items():
                figures.append(band_figures(read.topology, occupancy, power, lead_h))
        found[kind] = {f"{h}h": {k: float(np.mean([f[k] for f in fs])) for k in fs[0]} for h, fs in by_lead.items()}
    return found


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--weeks", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {"machine": surroundings()}
    with tempfile.TemporaryDirectory() as folder:
        trace = options.trace or make_trace(Path(folder) / "week", SyntheticOptions()).path
        found |= measure(trace, options.trials)
    publish(found | {"generated_weeks": options.weeks, "generated_bands": generated_bands(options.weeks)}, options.out)


if __name__ == "__main__":
    main()
