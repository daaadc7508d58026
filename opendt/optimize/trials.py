"""The question a strategy answers, and its account of what it tried within its budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from opendt.errors import EngineError, InputError, TopologyError
from opendt.models.topology import Topology
from opendt.optimize.anchor import anchored
from opendt.optimize.changes import apply_changes, canonical
from opendt.optimize.evaluate import Evaluator, Failed, Simulated
from opendt.optimize.limits import Limits, make_limits
from opendt.optimize.objective import rank_key, with_reference
from opendt.optimize.outcome import Outcome
from opendt.optimize.proposal import Evaluation, Proposal, compare
from opendt.optimize.uncertainty import NO_EVIDENCE, Evidence, saving_band
from opendt.settings import OptimizeSettings, SloSettings


@dataclass(frozen=True, slots=True)
class Problem:
    """What to improve, against what, under which limits.

    Attributes:
        topology: the topology in force; every proposal is a change of it.
        model: the same with the power parameters last calibrated; what is simulated. Equal without a calibration.
        baseline: the model's simulation on the workload.
        evaluator: simulates variants on the same workload.
        targets: objectives as given; they decide what is met.
        slo: objectives to score with; where none is given, the baseline itself is the reference.
        settings: what may vary, and seeds.
        limits: what every proposal must respect.
        evidence: what measurements say about the power model, for the band of a saving.
        history: earlier proposals about this topology, best first (``opendt.optimize.history``).
    """

    topology: Topology
    model: Topology
    baseline: Simulated
    evaluator: Evaluator
    targets: SloSettings
    slo: SloSettings
    settings: OptimizeSettings
    limits: Limits
    evidence: Evidence = NO_EVIDENCE
    history: tuple[dict[str, Any], ...] = ()

    def rank(self, outcome: Outcome) -> tuple[float, float]:
        """Sort key of an outcome: (how far from acceptable, score); lower is better in both."""
        return rank_key(outcome, self.slo, self.baseline.outcome, self.targets)

    def evaluation(self, variant: Simulated) -> Evaluation:
        """A simulated variant beside the baseline, with the band of its saving where there is evidence for one."""
        found = compare(self.baseline.outcome, variant.outcome, self.slo, self.targets)
        band = saving_band(self.baseline, variant, self.evidence)
        if band is None:
            return found
        return replace(found, saving_low_kwh=band[0], saving_high_kwh=band[1], band_source=self.evidence.source)


def make_problem(
    topology: Topology,
    evaluator: Evaluator,
    slo: SloSettings,
    settings: OptimizeSettings,
    *,
    model: Topology | None = None,
    evidence: Evidence = NO_EVIDENCE,
    history: tuple[dict[str, Any], ...] = (),
) -> Problem:
    """The problem, its baseline simulated.

    ``model`` and ``evidence`` come from ``opendt.optimize.evidence.calibrated``. Raises ``EngineError`` when the
    baseline itself cannot be simulated.
    """
    simulated = model or topology
    baseline = _simulated(evaluator, simulated)
    simulated, evidence = anchored(baseline, topology, evidence)
    baseline = _simulated(evaluator, simulated)
    limits = make_limits(simulated, baseline.outcome, evaluator.workload, settings, slo)
    reference = with_reference(slo, baseline.outcome)
    return Problem(topology, simulated, baseline, evaluator, slo, reference, settings, limits, evidence, history)


def _simulated(evaluator: Evaluator, topology: Topology) -> Simulated:
    found = evaluator.run(topology)
    if isinstance(found, Failed):
        raise EngineError(
            f"the topology in force cannot be simulated on this workload: {found.reason}", reason=found.reason
        )
    return found


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt: what was changed, and its simulation or the reason why there is none."""

    number: int
    changes: dict[str, Any]
    allocation: dict[str, Any] | None
    simulated: Simulated | None
    reason: str | None = None


@dataclass(slots=True)
class Trials:
    """The attempts of one strategy. Every attempt counts against ``budget``, also one answered from memory."""

    problem: Problem
    budget: int
    tried: list[Trial] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Simulations that may still be spent."""
        return self.budget - len(self.tried)

    def attempt(self, changes: Mapping[str, Any], allocation: dict[str, Any] | None = None) -> Trial:
        """Simulate the baseline with these changes. Raises ``InputError`` when the budget is spent."""
        return self.attempt_many([(changes, allocation)])[0]

    def attempt_many(self, variants: Sequence[tuple[Mapping[str, Any], dict[str, Any] | None]]) -> list[Trial]:
        """Several attempts side by side, in order. Raises ``InputError`` when the budget does not reach."""
        if self.left < len(variants):
            raise InputError(f"the budget of {self.budget} simulations is spent.")
        topologies = [self._variant(changes) for changes, _ in variants]
        found = iter(
            self.problem.evaluator.run_many(
                [(t, a) for t, (_, a) in zip(topologies, variants, strict=True) if isinstance(t, Topology)]
            )
        )
        for topology, (changes, allocation) in zip(topologies, variants, strict=True):
            result = Failed(self.problem.model, topology) if isinstance(topology, str) else next(found)
            self.tried.append(self._trial(dict(changes), allocation, result))
        return self.tried[-len(variants) :]

    def _variant(self, changes: Mapping[str, Any]) -> Topology | str:
        """The changed topology, or why there is none."""
        try:
            return apply_changes(self.problem.model, changes)
        except TopologyError as error:
            return error.message

    def _trial(self, changes: dict[str, Any], allocation: dict[str, Any] | None, result: Simulated | Failed) -> Trial:
        number = len(self.tried)
        if isinstance(result, Failed):
            return Trial(number, changes, allocation, None, result.reason)
        return Trial(number, canonical(self.problem.model, changes), allocation, result)

    def best(self) -> Trial | None:
        """The best simulated attempt, acceptable ones first; of equals the earlier."""
        simulated = [trial for trial in self.tried if trial.simulated is not None]
        return min(simulated, key=self._key, default=None)

    def _key(self, trial: Trial) -> tuple[float, float, int]:
        assert trial.simulated is not None
        problem = self.problem
        return *problem.rank(trial.simulated.outcome), trial.number

    def improves(self, trial: Trial) -> bool:
        """Whether an attempt ranks strictly before the baseline."""
        return self._key(trial)[:2] < self.problem.rank(self.problem.baseline.outcome)


def proposal_of(trials: Trials, trial: Trial, strategy: str, reasons: tuple[str, ...], **facts: Any) -> Proposal:
    """The proposal to do what an attempt tried; the attempt must have been simulated."""
    assert trial.simulated is not None
    base = trials.problem.topology
    return Proposal(
        strategy, apply_changes(base, trial.changes), trial.changes, reasons, base_version=base.version,
        allocation=trial.allocation,
        evaluation=trials.problem.evaluation(trial.simulated), simulations=len(trials.tried), **facts,
    )  # fmt: skip


def conclude(
    trials: Trials,
    strategy: str,
    started: float,
    reasons_of: Callable[[Trial], tuple[str, ...]],
    otherwise: str,
    details: Mapping[str, Any] | None = None,
) -> Proposal:
    """The best attempt as proposal, or the proposal to keep the topology when none ranks before it.

    ``started`` is the strategy's ``time.monotonic()`` at its beginning; ``otherwise`` the reason to keep.
    """
    best = trials.best()
    facts = dict(details or {}) | {
        "tried": len(trials.tried),
        "failed": sum(1 for trial in trials.tried if trial.simulated is None),
    }
    if best is None or not trials.improves(best):
        return Proposal(
            strategy, trials.problem.topology, {}, (otherwise, "nothing tried beats the present topology"),
            base_version=trials.problem.topology.version,
            evaluation=baseline_evaluation(trials.problem), simulations=len(trials.tried),
            duration_s=time.monotonic() - started, details=facts,
        )  # fmt: skip
    reasons = reasons_of(best)
    return proposal_of(trials, best, strategy, reasons, duration_s=time.monotonic() - started, details=facts)


def baseline_evaluation(problem: Problem) -> Evaluation:
    """The baseline beside itself: saves exactly nothing."""
    outcome = problem.baseline.outcome
    return compare(outcome, outcome, problem.slo, problem.targets)
