"""What the pipeline calls: proposals for a topology, as rows of the lake."""

from __future__ import annotations

import time
from typing import Any

from opendt.models.topology import Topology
from opendt.optimize.outcome import Outcome
from opendt.optimize.proposal import Proposal, no_op, propose, to_rows
from opendt.optimize.rules import advise
from opendt.optimize.strategies import idle, run_strategy
from opendt.optimize.trials import Problem
from opendt.settings import LlmSettings, SloSettings


def propose_at_end(
    topology: Topology,
    slo: SloSettings,
    *,
    run_id: str,
    datacenter: str,
    window_index: int | None,
    created_ms: int,
    outcome: Outcome | None = None,
    problem: Problem | None = None,
    strategy: str = "rules",
    budget: int = 1,
    llm: LlmSettings | None = None,
) -> list[dict[str, Any]]:
    """Proposals at the end of a run (or window), ready for the lake's ``proposals`` table.

    Two ways to call it:

    * ``outcome`` only (totals of the run: energy, runtime, ...): the rules look at the totals; nothing is simulated,
      so the rows carry the baseline but no predicted effect.
    * ``problem`` (from ``make_problem``: topology, evaluator with engine and workload, SLOs, limits): ``strategy`` may
      be any of rules, bayesian, random, llm, tournament; every proposal is simulated on the same workload.

    Always returns a no-op row beside the others. A strategy that recommends keeping the topology gives its reason in
    the no-op row. Identifiers depend on run, window, strategy and topology only, so a retried step replaces its rows.

    Raises ``EngineError`` when the topology in force cannot be simulated; ``TypeError`` when both or neither of
    ``outcome`` and ``problem`` are given.
    """
    if (outcome is None) == (problem is None):
        raise TypeError("propose_at_end needs either outcome or problem")
    if problem is not None:
        proposals = [a.proposal for a in run_strategy(strategy, problem, budget, llm)] + [idle(problem)]
    else:
        assert outcome is not None
        proposals = _from_totals(topology, slo, outcome)
    return to_rows(proposals, run_id=run_id, datacenter=datacenter, window_index=window_index, created_ms=created_ms)


def _from_totals(topology: Topology, slo: SloSettings, outcome: Outcome) -> list[Proposal]:
    started = time.monotonic()
    advice = advise(topology, outcome.energy_kwh, outcome.runtime_h, slo)
    details = {"rule": advice.rule, "baseline": outcome.as_dict(), "not_simulated": "only the run's totals were given"}
    if not advice.changes:
        return [no_op(topology, *advice.reasons[:1]).but(details=details)]
    spent = time.monotonic() - started
    rules = propose("rules", topology, advice.changes, advice.reasons, duration_s=spent, details=details)
    return [rules, no_op(topology).but(details={"baseline": outcome.as_dict()})]
