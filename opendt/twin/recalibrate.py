"""Calibration apart from a run: on what the lake remembers of it, against the model in force.

Fit and decision are ``opendt.calibration.offline``'s; here is what surrounds them: the history to learn from, the rows
in the lake, and how a better model is put in force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opendt.calibration.base import Trial
from opendt.calibration.decide import Verdict
from opendt.calibration.offline import CalibrationReport, calibrate
from opendt.calibration.search import default_space, search
from opendt.calibration.space import Space, parse_space
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.models.topology import Topology
from opendt.optimize.publish import publish_topology
from opendt.settings import CalibrationSettings, Settings
from opendt.store import Store
from opendt.store.events import copy_events
from opendt.twin.history import History
from opendt.units import MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a calibration on a run's history found.

    Attributes:
        history: the run and time it learned from, held-out hours included.
        report: fit, trials and verdict.
        better: whether the candidate should be put in force.
        reason: why (not), in words.
    """

    history: History
    report: CalibrationReport
    better: bool
    reason: str

    @property
    def verdict(self) -> Verdict:
        """Both models on the held-out hours."""
        assert self.report.verdict is not None  # hours were held out
        return self.report.verdict

    @property
    def trials(self) -> Sequence[Trial]:
        """Every attempt."""
        return self.report.trials

    @property
    def candidate(self) -> Topology:
        """The topology with the fitted power models."""
        return self.report.topology


def space_of(settings: CalibrationSettings, topology: Topology) -> Space:
    """The search space of the settings, or the surroundings of the topology's own power models."""
    return parse_space(settings.space) if settings.space else default_space(topology)


def recalibrate(
    history: History, settings: CalibrationSettings, *, method: str, heldout_h: float, least_gain_points: float,
    run_search: Callable[..., Any] = search,
) -> Recalibration:  # fmt: skip
    """Fit on the history but its last hours, compare with the model in force on those.

    Args:
        history: what a run saw and measured, under the topology in force.
        settings: space, trials, batch, grid points and seed of a search.
        method: online, bayesian, random or grid.
        heldout_h: hours at the end to decide on.
        least_gain_points: smallest gain in MAPE worth a change [percentage points].
        run_search: the loop between sampler and objective.

    Raises:
        InputError: the history is too short, or nothing was measured in it.
        TerminalError: every trial failed.
    """
    hours = (history.until_ms - history.from_ms) / MS_PER_HOUR
    if hours < 2 * heldout_h:
        raise InputError(
            f"the history of run {history.run_id} has {hours:.1f} h, too little to hold {heldout_h:g} h out and learn "
            "from more. Use more days or hold out less.",
            run_id=history.run_id,
        )
    space = None if method == "online" else space_of(settings, history.topology)
    report = calibrate(
        history.topology, history.occupancy, history.measured, method=method, space=space, trials=settings.trials,
        batch=settings.batch, points=settings.grid_points, seed=settings.seed, holdout_h=heldout_h,
        run_search=run_search,
    )  # fmt: skip
    verdict = report.verdict
    assert verdict is not None  # heldout_h is above 0
    if verdict.publish and verdict.gain_pct < least_gain_points:
        reason = f"saves {verdict.gain_pct:.2f} points, below the {least_gain_points:.2f} worth a change"
        return Recalibration(history, report, False, reason)
    return Recalibration(history, report, verdict.publish, verdict.reason)


def store_recalibration(
    lake: Lake, datacenter: str, run_id: str, found: Recalibration, *, published: bool, created_ms: int
) -> None:
    """Write the calibration and every trial of it. Writing it again replaces the rows."""
    owner = {"run_id": run_id, "datacenter": datacenter, "window_index": found.history.last_window}
    decided = {"published": published, "reason": found.reason, "created_ms": created_ms}
    lake.upsert("calibrations", [found.report.record | owner | decided])
    lake.upsert("calibration_trials", [row | owner for row in found.report.rows])


def put_in_force(settings: Settings, lake: Lake, store: Store, found: Recalibration, run_id: str) -> str:
    """Make the candidate the topology in force, keep the one before for rollback, tell the twin; returns what was done.

    Raises ``TransientError`` when everything is recorded but no broker took it; calling again repeats that.
    """
    if store.active_topology(settings.datacenter) is None:
        store.set_active_topology(
            settings.datacenter, found.history.topology, source="trace", decided_by="twin", run_id=found.history.run_id,
            reason="in force before the first calibration",
        )  # fmt: skip
    store.set_active_topology(
        settings.datacenter, found.candidate, source="calibration", decided_by="calibration", run_id=run_id,
        reason=found.reason,
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
