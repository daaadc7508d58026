"""Service level objectives and what "better" means: deltas, the scores, the Pareto front.

The targets themselves are ``opendt.settings.SloSettings``: frozen, checked once, versioned by the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from opendt.errors import ConfigError
from opendt.optimize.outcome import METRICS, Outcome
from opendt.settings import SloMetric, SloSettings

DELTA_MIN, DELTA_MAX = -1.0, 5.0
LEGACY_NAMES = {"energy_target": "energy_kwh", "runtime_target": "runtime_h"}

# What a variant must at least keep of the baseline's work; the rest is rounding of coarse samples.
WORK_KEPT_RATIO = 0.999


@dataclass(frozen=True, slots=True)
class SloCheck:
    """One objective beside what was simulated; ``delta_ratio`` is (actual - target) / target."""

    metric: SloMetric
    target: float
    actual: float
    delta_ratio: float

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self.actual <= self.target


def parse_slo(data: Any, where: str = "slo") -> SloSettings:
    """Checked objectives from decoded JSON.

    ``energy_target`` and ``runtime_target`` (the names of OpenDT v0.1) mean ``energy_kwh`` and ``runtime_h``.
    Raises ``ConfigError`` naming field and problem.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: must be a JSON object of targets, not {type(data).__name__}.")
    names = {LEGACY_NAMES.get(str(name), str(name)): value for name, value in data.items()}
    if len(names) < len(data):
        raise ConfigError(f"{where}: a target is given twice, under its old and its new name.")
    try:
        return SloSettings.model_validate(names)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(root)"
        raise ConfigError(
            f"{where}: {field}: {first['msg']}. Known: {', '.join(SloSettings.model_fields)}.", setting=field
        ) from None


def relative_delta(actual: float, target: float) -> float:
    """(actual - target) / target [ratio]; a target of 0 gives 0 when met and 1 otherwise."""
    if target <= 0:
        return 0.0 if actual <= 0 else 1.0
    return (actual - target) / target


def checks(outcome: Outcome, slo: SloSettings) -> list[SloCheck]:
    """Every objective that has a target, in the order of ``METRICS``."""
    found = []
    for metric in METRICS:
        target = getattr(slo, metric)
        if target is not None:
            actual = getattr(outcome, metric)
            found.append(SloCheck(metric, target, actual, relative_delta(actual, target)))
    return found


def weighted_score(outcome: Outcome, slo: SloSettings) -> float:
    """Weighted mean of the relative deltas, each clamped to [-1, 5] [ratio]; lower is better.

    Weights are ``slo.weights``, by default 0.6 energy and 0.4 runtime; metrics without a target do not count.
    0.0 when nothing counts.
    """
    pairs = [(c, slo.weights.get(c.metric, 0.0)) for c in checks(outcome, slo)]
    total = sum(weight for _, weight in pairs)
    if total <= 0:
        return 0.0
    return sum(float(np.clip(c.delta_ratio, DELTA_MIN, DELTA_MAX)) * weight for c, weight in pairs) / total


def energy_runtime_score(outcome: Outcome) -> float:
    """2 · energy [kWh] + runtime [h]; lower is better."""
    return 2.0 * outcome.energy_kwh + outcome.runtime_h


def score(outcome: Outcome, slo: SloSettings) -> float:
    """The score the SLOs select; lower is better."""
    return energy_runtime_score(outcome) if slo.score == "energy-runtime" else weighted_score(outcome, slo)


def with_reference(slo: SloSettings, baseline: Outcome) -> SloSettings:
    """The objectives, with the baseline's own values as targets of weighted metrics where none at all is given.

    Without any target the weighted score would be 0 everywhere and a search would have nothing to go by.
    """
    if any(getattr(slo, metric) is not None for metric in METRICS if slo.weights.get(metric, 0.0) > 0):
        return slo
    reference: dict[str, float] = {
        m: getattr(baseline, m) for m in METRICS if slo.weights.get(m, 0.0) > 0 and getattr(baseline, m) > 0
    }
    return slo.model_copy(update=reference)


def shortfall(outcome: Outcome, slo: SloSettings, baseline: Outcome) -> float:
    """How far an outcome is from acceptable: 0 when every target holds and no work is lost [ratio].

    The sum of the relative excess over each target, plus ten times the share of tasks and work lost against
    the baseline: dropping work must never look like a saving.
    """
    excess = sum(max(0.0, c.delta_ratio) for c in checks(outcome, slo))
    return excess + 10.0 * lost_ratio(outcome, baseline)


def lost_ratio(outcome: Outcome, baseline: Outcome) -> float:
    """Share of the baseline's tasks plus share of its work that the outcome does not deliver [ratio]."""
    tasks = max(0, outcome.tasks_lost - baseline.tasks_lost) / max(1, baseline.tasks_completed)
    if not outcome.work_mhz_s or not baseline.work_mhz_s:
        return tasks
    kept = outcome.work_mhz_s / baseline.work_mhz_s
    return tasks + (1.0 - kept if kept < WORK_KEPT_RATIO else 0.0)


def rank_key(
    outcome: Outcome, slo: SloSettings, baseline: Outcome, targets: SloSettings | None = None
) -> tuple[float, float]:
    """Sort key: acceptable outcomes first, then the better score. ``targets`` decide what is acceptable where the
    objectives scored with hold more (the baseline as reference)."""
    return round(shortfall(outcome, targets or slo, baseline), 9), score(outcome, slo)


def pareto_front(outcomes: Sequence[Outcome], metrics: Sequence[str] = ("energy_kwh", "runtime_h")) -> list[int]:
    """Indices of the outcomes no other one beats in every metric, ordered by the first metric.

    Of outcomes equal in all metrics the first is kept.
    """
    values = np.array([[getattr(o, m) for m in metrics] for o in outcomes], dtype=np.float64).reshape(-1, len(metrics))
    front = []
    for i, value in enumerate(values):
        not_worse = (values <= value).all(axis=1)
        better = not_worse & (values < value).any(axis=1)
        twin_before = (values[:i] == value).all(axis=1).any()
        if not better.any() and not twin_before:
            front.append(i)
    return sorted(front, key=lambda i: (tuple(values[i]), i))
