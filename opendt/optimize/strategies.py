"""Strategies by name, at equal simulation budgets."""

from __future__ import annotations

import time
from collections.abc import Callable

from opendt.errors import InputError
from opendt.optimize.changes import apply_changes, differences
from opendt.optimize.proposal import NO_OP, Evaluation, Proposal, compare, no_op
from opendt.optimize.rules import advise
from opendt.optimize.trials import Problem, Trial, Trials, proposal_of
from opendt.settings import LlmSettings

Strategy = Callable[[Problem, int], Proposal]


def by_rules(problem: Problem, budget: int) -> Proposal:
    """Apply the rules, simulate, and apply them again to the result, until they say "maintain" or the budget is spent.

    Proposes the best state on that path; keeps the topology when none beats it.
    """
    started = time.monotonic()
    trials = Trials(problem, budget)
    topology, outcome = problem.topology, problem.baseline.outcome
    reasons: dict[int, tuple[str, ...]] = {}
    last = ""
    while trials.left > 0:
        advice = advise(topology, outcome.energy_kwh, outcome.runtime_h, problem.slo)
        last = advice.reasons[0]
        if not advice.changes:
            break
        following = apply_changes(topology, advice.changes)
        trial = trials.attempt(differences(problem.topology, following))
        reasons[trial.number] = advice.reasons
        if trial.simulated is None:
            last = trial.reason or last
            break
        topology, outcome = following, trial.simulated.outcome
    return _conclude(trials, "rules", started, lambda trial: _steps(reasons, trial), last)


def _steps(reasons: dict[int, tuple[str, ...]], trial: Trial) -> tuple[str, ...]:
    """The reasons of the steps that led to a state, repeated ones counted."""
    counted: dict[str, int] = {}
    for number in range(trial.number + 1):
        for reason in reasons.get(number, ()):
            remedy = reason.rpartition(": ")[2]
            counted[remedy] = counted.get(remedy, 0) + 1
    return reasons.get(0, ())[:1] + tuple(f"{remedy}, {n} times" for remedy, n in counted.items() if n > 1)


def _conclude(
    trials: Trials, strategy: str, started: float, reasons_of: Callable[[Trial], tuple[str, ...]], otherwise: str
) -> Proposal:
    """The best attempt as proposal, or the proposal to keep the topology when none beats it."""
    best = trials.best()
    spent = time.monotonic() - started
    details = {"tried": len(trials.tried), "failed": sum(1 for t in trials.tried if t.simulated is None)}
    if best is None or not trials.improves(best):
        keep = Proposal(strategy, trials.problem.topology, {}, (otherwise, "nothing tried beats the present topology"))
        return keep.but(
            evaluation=baseline_evaluation(trials.problem), simulations=len(trials.tried), duration_s=spent,
            details=details,
        )  # fmt: skip
    return proposal_of(trials, best, strategy, reasons_of(best), duration_s=spent, details=details)


def baseline_evaluation(problem: Problem) -> Evaluation:
    """The baseline beside itself: saves exactly nothing."""
    outcome = problem.baseline.outcome
    return compare(outcome, outcome, problem.slo)


STRATEGIES: dict[str, Strategy] = {"rules": by_rules}


def run_strategy(name: str, problem: Problem, budget: int, llm: LlmSettings | None = None) -> list[Proposal]:
    """The proposals of one strategy, and the no-op beside them. Raises ``InputError`` for an unknown name."""
    if name not in STRATEGIES:
        raise InputError(f"strategy '{name}' is not known; there are {', '.join(STRATEGIES)}.", strategy=name)
    return [STRATEGIES[name](problem, budget), idle(problem)]


def idle(problem: Problem) -> Proposal:
    """The proposal to do nothing, with the baseline's numbers."""
    assert NO_OP == "no-op"
    return no_op(problem.topology).but(evaluation=baseline_evaluation(problem))
