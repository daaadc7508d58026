"""What-if and optimization on one day of a trace: seconds, simulations per minute, and what each strategy reaches.

Usage::

    python benchmarks/bench_optimize.py --trace ../shared/traces/surf [--energy-share 0.9] [--out benchmarks/results]

The energy objective is ``--energy-share`` of what the present topology draws on that day, the runtime objective one
hour more than it takes. The result is one JSON object with machine and commit, printed and written below ``--out``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import orjson
from record import surroundings

from opendt.optimize.contest import hold_contest
from opendt.optimize.sources import Period, from_trace
from opendt.optimize.trials import Problem
from opendt.optimize.whatif import parse_variant, run_whatif
from opendt.settings import OptimizeSettings, Settings, SloSettings
from opendt.traces import read_trace
from opendt.units import MS_PER_DAY

WHATIF = ["clusters[0].hosts[0].count=200"]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, default=Path("../shared/traces/surf"))
    parser.add_argument("--energy-share", type=float, default=0.9)
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--many", type=int, default=500, help="simulations of the throughput measurement")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    found = surroundings() | measure(arguments.trace, arguments.energy_share, arguments.budget, arguments.many)
    text = orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "optimize.json").write_text(text + "\n")


def measure(folder: Path, energy_share: float, budget: int, many: int) -> dict[str, Any]:
    """All figures for the first day of a trace."""
    trace = read_trace(folder)
    day = Period(None, trace.origin_ms + MS_PER_DAY)
    first, cold_s = timed(lambda: from_trace(Settings(), trace, SloSettings(), period=day))
    present = first.problem.baseline.outcome
    slo = SloSettings(energy_kwh=energy_share * present.energy_kwh, runtime_h=present.runtime_h + 1)

    def ask() -> Problem:
        return from_trace(Settings(), trace, slo, period=day).problem

    problem, baseline_s = timed(ask)
    _, whatif_s = timed(lambda: run_whatif(problem, [parse_variant(WHATIF)]))
    busy = time.process_time()
    contest, tournament_s = timed(lambda: hold_contest(ask(), "tournament", budget))
    tournament_cpu_s = time.process_time() - busy
    throughput = {name: per_minute(problem, name, many) for name in ("random", "bayesian")}
    standing = {row["strategy"]: row for row in contest.standing()}
    reached = {
        name: {
            key: row[key] for key in ("energy_kwh", "runtime_h", "meets_slos", "simulations", "duration_s", "changes")
        }
        for name, row in standing.items()
    }
    best = min(reached[name]["energy_kwh"] for name in ("bayesian", "random") if reached[name]["meets_slos"])
    return {
        "trace": folder.name,
        "tasks": len(problem.evaluator.workload.tasks),
        "fragments": len(problem.evaluator.workload.fragments),
        "first_question_s": cold_s,
        "baseline_s": baseline_s,
        "whatif_one_variant_s": whatif_s,
        "slo": slo.model_dump(exclude_none=True),
        "budget": budget,
        "tournament_s": tournament_s,
        "tournament_cpu_s": tournament_cpu_s,
        "strategies": reached,
        "search_below_rules_pct": 100 * (1 - best / reached["rules"]["energy_kwh"]),
        "simulations_per_minute": throughput,
    }


def per_minute(problem: Problem, strategy: str, many: int) -> dict[str, float]:
    """Variants simulated per minute by a search that has tried nothing before, and processor time per variant [ms]."""
    settings = OptimizeSettings(seed=7)
    fresh, busy = problem.evaluator.simulations, time.process_time()
    _, seconds = timed(lambda: hold_contest(_with(problem, settings), strategy, many))
    simulated = problem.evaluator.simulations - fresh
    return {"per_minute": 60 * simulated / seconds, "cpu_ms_each": 1000 * (time.process_time() - busy) / simulated}


def _with(problem: Problem, settings: OptimizeSettings) -> Problem:
    from dataclasses import replace

    return replace(problem, settings=settings)


def timed(work: Any) -> tuple[Any, float]:
    """(result, seconds)."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


if __name__ == "__main__":
    main()
