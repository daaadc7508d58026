"""One model for every proposal, whoever made it: what would change, why, and what simulation says about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from opendt.models.topology import Topology
from opendt.optimize.changes import apply_changes, canonical
from opendt.optimize.objective import SloCheck, checks, lost_ratio, score
from opendt.optimize.outcome import Outcome
from opendt.settings import SloSettings

NO_OP = "no-op"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A proposal beside the baseline, both simulated on the same workload.

    ``saving_low_kwh`` and ``saving_high_kwh`` bound the energy saved with 90 % by the power models that explain
    the measurements about equally well; None without a calibration. ``band_source`` says where they come from.
    """

    baseline: Outcome
    outcome: Outcome
    score: float
    baseline_score: float
    checks: tuple[SloCheck, ...]
    saving_low_kwh: float | None = None
    saving_high_kwh: float | None = None
    band_source: str = ""

    @property
    def saving_kwh(self) -> float:
        """Energy saved against the baseline [kWh]; negative when it costs energy."""
        return self.baseline.energy_kwh - self.outcome.energy_kwh

    @property
    def meets_slos(self) -> bool:
        """Whether every target holds and no work is lost."""
        return all(c.met for c in self.checks) and lost_ratio(self.outcome, self.baseline) == 0.0

    def in_words(self) -> str:
        """The energy effect in one phrase, e.g. ``saves 9.1 kWh (7.0 to 11.2 with 90 %)``."""
        verb = "saves" if self.saving_kwh >= 0 else "costs"
        text = f"{verb} {abs(self.saving_kwh):.4g} kWh"
        if self.saving_low_kwh is None or self.saving_high_kwh is None:
            return text
        low, high = sorted((self.saving_low_kwh, self.saving_high_kwh))
        if self.saving_kwh < 0:
            low, high = -high, -low
        return f"{text} ({low:.4g} to {high:.4g} with 90 %)"


def compare(baseline: Outcome, outcome: Outcome, slo: SloSettings, targets: SloSettings | None = None) -> Evaluation:
    """An evaluation without uncertainty: scored with ``slo``, checked against ``targets`` where they differ."""
    found = tuple(checks(outcome, targets or slo))
    return Evaluation(baseline, outcome, score(outcome, slo), score(baseline, slo), found)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A topology somebody proposes.

    Attributes:
        strategy: rules, bayesian, random, llm or no-op.
        topology: the complete topology proposed; always valid.
        changes: path → value against the topology it was based on; empty for "keep as it is".
        reasons: why, in words.
        allocation: OpenDC allocation policy proposed, None to keep the present one. A topology cannot carry it,
            so it takes effect when the scheduler (or the next run's ``engine.allocation``) is set to it.
        evaluation: what simulation says; None when nothing could be simulated (``details`` says why).
        fallback_reason: why this strategy had to stand in for the one asked for.
        base_version: version of the topology it changes.
        simulations, duration_s: what it cost to find.
        details: strategy-specific facts.
    """

    strategy: str
    topology: Topology
    changes: dict[str, Any]
    reasons: tuple[str, ...]
    allocation: dict[str, Any] | None = None
    evaluation: Evaluation | None = None
    fallback_reason: str | None = None
    base_version: str = ""
    simulations: int = 0
    duration_s: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Proposal:
        """The proposal with some attributes replaced."""
        return replace(self, **changes)


def propose(
    strategy: str, base: Topology, changes: Mapping[str, Any], reasons: tuple[str, ...], **facts: Any
) -> Proposal:
    """A checked proposal; raises ``TopologyError`` when the changes do not fit the base topology."""
    topology = apply_changes(base, changes)
    return Proposal(strategy, topology, canonical(base, changes), reasons, base_version=base.version, **facts)


def no_op(base: Topology, reason: str = "keep the topology as it is") -> Proposal:
    """The proposal to change nothing, which every other one is shown beside."""
    return Proposal(NO_OP, base, {}, (reason,), base_version=base.version)


def proposal_id(run_id: str, window_index: int | None, proposal: Proposal) -> str:
    """Identifier that is the same when the same step is done again, so a retried run stores nothing twice."""
    allocation = orjson.dumps(proposal.allocation, option=orjson.OPT_SORT_KEYS).decode()
    text = f"{run_id}|{window_index}|{proposal.strategy}|{proposal.topology.version}|{allocation}"
    return "p-" + hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def to_row(
    proposal: Proposal,
    *,
    run_id: str,
    datacenter: str,
    window_index: int | None,
    created_ms: int,
    state: str = "pending",
) -> dict[str, Any]:
    """The proposal as a row of the lake's ``proposals`` table, one entry per column."""  # fmt: skip
    evaluation = proposal.evaluation
    base = evaluation.baseline if evaluation else None
    out = evaluation.outcome if evaluation else None
    low, high = _energy_band(evaluation)
    return {
        "run_id": run_id,
        "datacenter": datacenter,
        "proposal_id": proposal_id(run_id, window_index, proposal),
        "window_index": window_index,
        "strategy": proposal.strategy,
        "state": state,
        "changes_json": _json(_all_changes(proposal)),
        "topology_json": proposal.topology.to_json().decode(),
        "reasons_json": _json(list(proposal.reasons)),
        "fallback_reason": proposal.fallback_reason,
        "baseline_energy_kwh": base and base.energy_kwh,
        "energy_kwh": out and out.energy_kwh,
        "energy_low_kwh": low,
        "energy_high_kwh": high,
        "baseline_runtime_h": base and base.runtime_h,
        "runtime_h": out and out.runtime_h,
        "carbon_kg": out and out.carbon_kg,
        "baseline_carbon_kg": base and base.carbon_kg,
        "peak_power_kw": out and out.peak_power_kw,
        "queue_delay_s": out and out.queue_delay_s,
        "score": evaluation and evaluation.score,
        "baseline_score": evaluation and evaluation.baseline_score,
        "simulations": proposal.simulations,
        "duration_s": proposal.duration_s,
        "details_json": _json(_details(proposal)),
        "created_ms": created_ms,
    }


def to_rows(proposals: Iterable[Proposal], **where: Any) -> list[dict[str, Any]]:
    """Rows of several proposals of one step, each identifier once.

    Where the rules stand in for another strategy beside their own proposal, the row with the reason stays.
    """
    rows: dict[str, dict[str, Any]] = {}
    for proposal in proposals:
        row = to_row(proposal, **where)
        known = rows.get(row["proposal_id"])
        if known is None or known["fallback_reason"] is None:
            rows[row["proposal_id"]] = row
    return list(rows.values())


def _all_changes(proposal: Proposal) -> dict[str, Any]:
    extra = {} if proposal.allocation is None else {"allocation": proposal.allocation}
    return proposal.changes | extra


def _energy_band(evaluation: Evaluation | None) -> tuple[float | None, float | None]:
    """The proposal's energy if the saving is at its upper and its lower bound [kWh]."""
    if evaluation is None or evaluation.saving_low_kwh is None or evaluation.saving_high_kwh is None:
        return None, None
    base = evaluation.baseline.energy_kwh
    return base - evaluation.saving_high_kwh, base - evaluation.saving_low_kwh


def _details(proposal: Proposal) -> dict[str, Any]:
    evaluation = proposal.evaluation
    details = proposal.details | {"base_version": proposal.base_version}
    if evaluation is None:
        return details
    slos = [
        {"metric": c.metric, "target": c.target, "actual": c.actual, "met": c.met, "delta_ratio": c.delta_ratio}
        for c in evaluation.checks
    ]
    return details | {
        "effect": evaluation.in_words(),
        "meets_slos": evaluation.meets_slos,
        "slos": slos,
        "band_source": evaluation.band_source,
        "outcome": evaluation.outcome.as_dict(),
        "baseline": evaluation.baseline.as_dict(),
    }


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
