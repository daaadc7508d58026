"""What calibration costs on a trace: pricing trials, a Bayesian search, a walk-forward evaluation, state per window.

Usage: python benchmarks/bench_calibration.py [--trace DIR] [--trials 1000] [--out benchmarks/results/calibration.json]

Without --trace a week of 277 hosts is generated. Times are the best of three, on the machine described in the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from opendt.calibration.evaluate import evaluate, hourly, walk_forward
from opendt.calibration.online import OnlineCalibrator
from opendt.calibration.recorded import simulated_trace
from opendt.calibration.samplers import make_sampler
from opendt.calibration.search import PricedObjective, default_space, search
from opendt.power.pricing import group_models, price_many
from opendt.reports.accuracy import trace_accuracy
from opendt.settings import load_settings
from opendt.traces.synthetic import SyntheticOptions, make_trace


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
    calibrator = OnlineCalibrator(read.topology)
    walk_s = best_of(1, lambda: walk_forward(calibrator, hours))
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
        "online_state_kb": len(calibrator.to_bytes()) / 1e3,
        "accuracy_command_s": command_s,
        "accuracy": {lead: found.scores["online"].to_dict() for lead, found in scores.items()},
    }


def machine() -> dict[str, Any]:
    """Where it was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "load_before": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
    }


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        trace = options.trace or make_trace(Path(folder) / "week", SyntheticOptions()).path
        found = {"machine": facts, **measure(trace, options.trials)}
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
