"""What-if: variants of a topology beside the present one, on the same workload."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from opendt.errors import InputError
from opendt.optimize.changes import apply_changes, canonical, parse_changes
from opendt.optimize.evaluate import Failed
from opendt.optimize.proposal import Evaluation
from opendt.optimize.space import POLICIES
from opendt.optimize.trials import Problem

MOST_VARIANTS = 1000
ALLOCATION = "allocation"
COMPARED: tuple[str, ...] = (
    "energy_kwh", "carbon_kg", "peak_power_kw", "runtime_h", "queue_delay_s", "queue_delay_p95_s", "tasks_completed",
    "tasks_lost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variant:
    """A question: a name, topology changes (path → value), and an allocation policy or None for the present one."""

    name: str
    changes: dict[str, Any]
    allocation: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class VariantResult:
    """An answer: the evaluation beside the baseline, or the reason why there is none."""

    variant: Variant
    evaluation: Evaluation | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {"name": self.variant.name, "changes": self.variant.changes}
        if self.variant.allocation is not None:
            found[ALLOCATION] = self.variant.allocation
        evaluation = self.evaluation
        if evaluation is None:
            return found | {"state": "failed", "reason": self.reason}
        base, out = evaluation.baseline, evaluation.outcome
        return found | {
            "state": "complete",
            **{metric: getattr(out, metric) for metric in COMPARED},
            "delta": {metric: getattr(out, metric) - getattr(base, metric) for metric in COMPARED},
            "delta_pct": {m: _percent(getattr(out, m), getattr(base, m)) for m in COMPARED},
            "work_kept_ratio": _kept(evaluation),
            "saving_kwh": evaluation.saving_kwh,
            "saving_low_kwh": evaluation.saving_low_kwh,
            "saving_high_kwh": evaluation.saving_high_kwh,
            "effect": evaluation.in_words(),
            "score": evaluation.score,
            "baseline_score": evaluation.baseline_score,
            "slos": slo_rows(evaluation),
            "meets_slos": evaluation.meets_slos,
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    """All answers, beside the baseline."""

    baseline: dict[str, Any]
    variants: tuple[VariantResult, ...]
    wall_s: float
    workload: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``baseline``, ``variants``, ``workload``, ``wall_s``."""
        return {
            "baseline": self.baseline,
            "variants": [result.as_dict() for result in self.variants],
            "workload": self.workload,
            "wall_s": self.wall_s,
        }


def parse_variant(texts: Sequence[str], name: str = "") -> Variant:
    """A variant from ``path=value`` texts; ``allocation=POLICY`` names an OpenDC prefab policy.

    Raises ``InputError`` for texts that cannot be read and unknown policies.
    """
    changes = parse_changes(texts)
    policy = changes.pop(ALLOCATION, None)
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise InputError(f"allocation={policy}: not a policy; there are {', '.join(POLICIES)}.")
        policy = {"type": "prefab", "policyName": policy}
    if policy is not None and not isinstance(policy, dict):
        raise InputError("allocation: give a policy's name or OpenDC's policy object.")
    return Variant(name or ", ".join(texts), changes, policy)


def run_whatif(problem: Problem, variants: Sequence[Variant]) -> WhatIf:
    """Simulate every variant beside the baseline. A variant that cannot be simulated has a reason, the others go on.

    Raises:
        InputError: no variant, or too many.
        TopologyError: a variant's change does not fit the topology (checked before anything is simulated).
    """
    started = time.monotonic()
    if not variants or len(variants) > MOST_VARIANTS:
        raise InputError(
            f"{len(variants)} variants; give 1 to {MOST_VARIANTS}, for example --set clusters[0]...=VALUE."
        )
    topologies = [apply_changes(problem.model, v.changes) for v in variants]
    results = []
    for variant, topology in zip(variants, topologies, strict=True):
        exact = Variant(variant.name, canonical(problem.model, variant.changes), variant.allocation)
        found = problem.evaluator.run(topology, variant.allocation)
        if isinstance(found, Failed):
            results.append(VariantResult(exact, None, found.reason))
        else:
            results.append(VariantResult(exact, problem.evaluation(found)))
    return WhatIf(baseline_row(problem), tuple(results), time.monotonic() - started, workload_row(problem))


def baseline_row(problem: Problem) -> dict[str, Any]:
    """The baseline's numbers, score and objectives."""
    from opendt.optimize.trials import baseline_evaluation

    evaluation = baseline_evaluation(problem)
    return {
        **{metric: getattr(evaluation.outcome, metric) for metric in COMPARED},
        "topology_version": problem.topology.version,
        "hosts": problem.topology.host_count,
        "cores": problem.topology.core_count,
        "peak_cores": evaluation.outcome.peak_cores,
        "score": evaluation.score,
        "slos": slo_rows(evaluation),
        "meets_slos": evaluation.meets_slos,
    }


def workload_row(problem: Problem) -> dict[str, Any]:
    """Size of the workload simulated."""
    workload = problem.evaluator.workload
    return {"tasks": int(workload.runnable.sum()), "fragments": len(workload.fragments)}


def slo_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Objectives as plain rows."""
    return [
        {"metric": c.metric, "target": c.target, "actual": c.actual, "delta_ratio": c.delta_ratio, "met": c.met}
        for c in evaluation.checks
    ]


def _percent(value: float, reference: float) -> float | None:
    return 100.0 * (value - reference) / reference if reference else None


def _kept(evaluation: Evaluation) -> float | None:
    base, out = evaluation.baseline.work_mhz_s, evaluation.outcome.work_mhz_s
    return None if not base or out is None else out / base
