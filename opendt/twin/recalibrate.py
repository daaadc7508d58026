"""Calibration apart from a run: the best of a search against the model in force, on readings neither has seen.

Ask and tell: the caller owns the loop (``flows/calibrate.py``), so that batches can be scored anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from opendt import metrics
from opendt.calibration.base import Trial, calibration_record, trial_rows
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.calibration.search import default_space
from opendt.calibration.space import Space, parse_space, with_properties
from opendt.errors import InputError, TerminalError
from opendt.lake import Lake
from opendt.models.topology import Topology
from opendt.optimize.publish import publish_topology
from opendt.power.pricing import group_models, price
from opendt.settings import CalibrationSettings, Settings
from opendt.store import Store
from opendt.store.events import copy_events
from opendt.twin.history import History
from opendt.units import MS_PER_HOUR

CONFIDENCE = 1.645  # standard errors: one chance in twenty of taking noise for an improvement
LEAST_HOURS = 6


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate against the model in force, on held-out readings.

    Attributes:
        active_mape_pct, candidate_mape_pct: error of each [%].
        gain_points: hourly error of the active model minus that of the candidate, on average [percentage points].
        noise_points: how much of that could be chance [percentage points].
        hours: hours compared.
        better: whether the gain is beyond noise and worth a change.
        reason: the same in words.
    """

    active_mape_pct: float
    candidate_mape_pct: float
    gain_points: float
    noise_points: float
    hours: int
    better: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a search found and what became of it."""

    calibration_id: str
    method: str
    trained: History
    heldout: History
    trials: tuple[Trial, ...]
    best: Trial
    candidate: Topology
    verdict: Verdict


def space_of(settings: CalibrationSettings, topology: Topology) -> Space:
    """The search space of the settings, or the surroundings of the topology's own power models."""
    return parse_space(settings.space) if settings.space else default_space(topology)


def split(history: History, heldout_h: float) -> tuple[History, History]:
    """(what to learn from, the last ``heldout_h`` hours to compare on). Raises ``InputError`` when it is too short."""
    cut_ms = history.until_ms - round(heldout_h * MS_PER_HOUR)
    if cut_ms - history.from_ms < heldout_h * MS_PER_HOUR:
        raise InputError(
            f"the history of run {history.run_id} has {(history.until_ms - history.from_ms) / MS_PER_HOUR:.1f} h, too "
            f"little to hold {heldout_h:g} h out and learn from more. Use more days or hold out less.",
            run_id=history.run_id,
        )
    return history.between(history.from_ms, cut_ms), history.between(cut_ms, history.until_ms)


def judge(heldout: History, candidate: Topology, least_gain_points: float) -> Verdict:
    """Compare a candidate with the topology in force, hour by hour, on held-out readings.

    The gain counts when its mean over the hours exceeds ``least_gain_points`` and 1.645 standard errors of that mean.
    Raises ``InputError`` when there are no readings to compare on.
    """
    occupancy = heldout.occupancy
    watts = metrics.align(heldout.measured, occupancy.timestamp_ms, MAX_GAP_MS)
    use = np.isfinite(watts) & (watts > 0)
    if not use.any():
        raise InputError("no measured power falls into the held-out hours; nothing to compare on.")
    errors = [
        np.abs(price(occupancy, group_models(topology, occupancy.groups))[use] / watts[use] - 1.0) * 100
        for topology in (heldout.topology, candidate)
    ]
    hours = np.asarray(occupancy.timestamp_ms)[use] // MS_PER_HOUR
    gains = np.array([(errors[0] - errors[1])[hours == hour].mean() for hour in np.unique(hours)])
    gain = float(gains.mean())
    noise = float(CONFIDENCE * gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else float("inf")
    better = len(gains) >= LEAST_HOURS and gain > max(noise, least_gain_points)
    active, found = float(errors[0].mean()), float(errors[1].mean())
    return Verdict(
        active, found, gain, noise, len(gains), better, _why(gain, noise, len(gains), least_gain_points, better)
    )


def _why(gain: float, noise: float, hours: int, least: float, better: bool) -> str:
    if hours < LEAST_HOURS:
        return f"kept: only {hours} h to compare on, at least {LEAST_HOURS} are needed"
    if better:
        return f"better by {gain:.2f} points on {hours} held-out hours, of which {noise:.2f} could be chance"
    if gain <= 0:
        return f"kept: the candidate is worse by {-gain:.2f} points on {hours} held-out hours"
    if gain <= noise:
        return f"kept: the gain of {gain:.2f} points on {hours} held-out hours could be chance ({noise:.2f})"
    return f"kept: the gain of {gain:.2f} points is below the {least:.2f} worth a change"


def conclude(
    trained: History, heldout: History, trials: Sequence[Trial], *, method: str, calibration_id: str,
    least_gain_points: float,
) -> Recalibration:  # fmt: skip
    """The best trial, judged on the held-out hours. Raises ``TerminalError`` when every trial failed."""
    complete = [trial for trial in trials if trial.score_mape_pct is not None]
    if not complete:
        reasons = sorted({trial.reason or "" for trial in trials})
        raise TerminalError(f"all {len(trials)} trials failed: {'; '.join(reasons)}.")
    best = min(complete, key=lambda trial: trial.score_mape_pct or 0.0)
    candidate = with_properties(trained.topology, best.parameters)
    verdict = judge(heldout, candidate, least_gain_points)
    return Recalibration(calibration_id, method, trained, heldout, tuple(trials), best, candidate, verdict)


def store_recalibration(
    lake: Lake, datacenter: str, run_id: str, found: Recalibration, *, published: bool, created_ms: int, seed: int
) -> None:
    """Write the calibration and every trial of it. Writing it again replaces the rows."""
    owner = {
        "run_id": run_id, "datacenter": datacenter, "window_index": found.trained.last_window, "created_ms": created_ms,
    }  # fmt: skip
    curves = {model.modelType for model in group_models(found.candidate, found.trained.occupancy.groups)}
    record = calibration_record(
        found.calibration_id, found.method, ", ".join(sorted(curves)), found.best.parameters,
        trained_from_ms=found.trained.from_ms, trained_until_ms=found.trained.until_ms,
        samples=len(found.trained.measured), score_mape_pct=found.best.score_mape_pct,
        duration_ms=sum(trial.duration_ms for trial in found.trials),
        heldout_mape_pct=found.verdict.candidate_mape_pct, active_heldout_mape_pct=found.verdict.active_mape_pct,
        published=published, reason=found.verdict.reason,
    )  # fmt: skip
    rows = trial_rows(
        found.calibration_id, found.method, found.trials, from_ms=found.trained.from_ms,
        until_ms=found.trained.until_ms, seed=seed, engine="native",
    )  # fmt: skip
    lake.upsert("calibrations", [record | owner])
    del owner["created_ms"]
    lake.upsert("calibration_trials", [row | owner for row in rows])


def put_in_force(settings: Settings, lake: Lake, store: Store, found: Recalibration, run_id: str) -> str:
    """Make the candidate the topology in force, keep the one before for rollback, tell the twin; returns what was done.

    Raises ``TransientError`` when everything is recorded but no broker took it; calling again repeats that.
    """
    if store.active_topology(settings.datacenter) is None:
        store.set_active_topology(
            settings.datacenter, found.trained.topology, source="trace", decided_by="twin", run_id=found.trained.run_id,
            reason="in force before the first calibration",
        )  # fmt: skip
    store.set_active_topology(
        settings.datacenter, found.candidate, source="calibration", decided_by="calibration", run_id=run_id,
        reason=found.verdict.reason,
    )  # fmt: skip
    copy_events(store, lake)
    if not settings.stream.bootstrap_servers:
        return "put in force; no Kafka is configured, so a running twin does not hear of it"
    publish_topology(settings.stream, settings.datacenter, found.candidate, "calibration")
    return f"put in force and published to {settings.stream.topics.sim_topology}"


def accuracy_by_day(lake: Lake, run_id: str, datacenter: str) -> list[dict[str, Any]]:
    """Error of a run per day of trace time, beside the uncalibrated topology and persistence."""
    return lake.rows(
        """
        SELECT strftime(make_timestamp(timestamp_ms * 1000), '%Y-%m-%d') AS day, count(*) AS samples,
               avg(100 * abs(simulated_w / measured_w - 1)) AS mape_pct,
               avg(100 * abs(uncalibrated_w / measured_w - 1)) AS uncalibrated_mape_pct,
               avg(100 * abs(persistence_w / measured_w - 1)) AS persistence_mape_pct,
               100 * (sum(simulated_w) / sum(measured_w) - 1) AS energy_bias_pct
        FROM power_samples WHERE run_id = ? AND datacenter = ? AND measured_w > 0
        GROUP BY day ORDER BY day
        """,
        [run_id, datacenter],
    )
