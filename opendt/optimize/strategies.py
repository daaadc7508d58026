"""Strategies by name, and what each did within its budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from opendt.errors import InputError
from opendt.optimize.changes import apply_changes, differences
from opendt.optimize.llm import by_llm
from opendt.optimize.proposal import Proposal, no_op
from opendt.optimize.rules import advise
from opendt.optimize.search import search
from opendt.optimize.trials import Problem, Trial, Trials, baseline_evaluation, conclude
from opendt.settings import LlmSettings

TOURNAMENT = "tournament"
NAMES: tuple[str, ...] = ("rules", "bayesian", "random", "llm", TOURNAMENT)


@dataclass(frozen=True, slots=True)
class Attempted:
    """A strategy's proposal and everything it tried on the way."""

    proposal: Proposal
    trials: Trials


Strategy = Callable[[Problem, int, LlmSettings | None], Attempted]


def by_rules(problem: Problem, budget: int, llm: LlmSettings | None = None) -> Attempted:
    """Apply the rules, simulate, and apply them again to the result, until they say "maintain" or the budget is spent.

    Proposes the best state on that path; keeps the topology when none beats it.
    """
    started = time.monotonic()
    trials = Trials(problem, budget)
    topology, outcome = problem.topology, problem.baseline.outcome
    reasons: dict[int, tuple[str, ...]] = {}
    last = ""
    while trials.left > 0:
        advice = advise(topology, outcome.energy_kwh, outcome.runtime_h, problem.slo, problem.settings.fixed_hosts)
        last = advice.reasons[0]
        if not advice.changes:
            break
        topology = apply_changes(topology, advice.changes)
        trial = trials.attempt(differences(problem.topology, topology))
        reasons[trial.number] = advice.reasons
        if trial.simulated is None:
            last = trial.reason or last
            break
        outcome = trial.simulated.outcome
    return Attempted(conclude(trials, "rules", started, lambda best: _steps(reasons, best), last), trials)


def _steps(reasons: dict[int, tuple[str, ...]], best: Trial) -> tuple[str, ...]:
    """The reason of the first step, and how often each remedy was applied on the way to a state."""
    counted: dict[str, int] = {}
    for number in range(best.number + 1):
        for reason in reasons.get(number, ()):
            remedy = reason.rpartition(": ")[2]
            counted[remedy] = counted.get(remedy, 0) + 1
    return reasons.get(0, ())[:1] + tuple(f"{remedy}, {n} times" for remedy, n in counted.items() if n > 1)


def by_random(problem: Problem, budget: int, llm: LlmSettings | None = None) -> Attempted:
    """Random search."""
    return Attempted(*search("random", problem, budget))


def by_bayesian(problem: Problem, budget: int, llm: LlmSettings | None = None) -> Attempted:
    """Bayesian search."""
    return Attempted(*search("bayesian", problem, budget))


def ask_llm(problem: Problem, budget: int, llm: LlmSettings | None = None) -> Attempted:
    """The language model; the rules stand in, with the reason, when it cannot answer."""
    return Attempted(*by_llm(problem, budget, llm or LlmSettings(), lambda: by_rules(problem, budget).proposal))


STRATEGIES: dict[str, Strategy] = {"rules": by_rules, "bayesian": by_bayesian, "random": by_random, "llm": ask_llm}


def run_strategy(name: str, problem: Problem, budget: int, llm: LlmSettings | None = None) -> list[Attempted]:
    """What one strategy (or, for ``tournament``, each) came up with. Raises ``InputError`` for an unknown name."""
    if name == TOURNAMENT:
        return [strategy(problem, budget, llm) for strategy in STRATEGIES.values()]
    if name not in STRATEGIES:
        raise InputError(f"strategy '{name}' is not known; there are {', '.join(NAMES)}.", strategy=name)
    return [STRATEGIES[name](problem, budget, llm)]


def idle(problem: Problem) -> Proposal:
    """The proposal to do nothing, with the baseline's numbers."""
    return no_op(problem.topology).but(evaluation=baseline_evaluation(problem))
