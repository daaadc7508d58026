"""Calibration apart from a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opendt.calibration.base import Trial
from opendt.calibration.samplers import Sampler
from opendt.calibration.search import Objective, SearchResult, search
from opendt.lake import Lake
from opendt.settings import LakeSettings, Settings
from opendt.store import Store
from opendt.twin.history import History
from opendt.twin.history import read_history as _read_history
from opendt.twin.recalibrate import Recalibration, accuracy_by_day, put_in_force, store_recalibration
from opendt.twin.session import wall_clock_ms
from tasks.policy import LONG_TIMEOUT_S, step


@step(run_name="history {of_run}")
def read_history(settings: Settings, days: float, of_run: str) -> History:
    """The last days of a run, or of the datacenter's latest one, under the topology in force."""
    with Store.open(settings, read_only=True) as store:
        active = store.active_topology(settings.datacenter)
    with Lake.open(settings.lake, read_only=True) as lake:
        topology = active.topology if active else None
        return _read_history(lake, settings.datacenter, days=days, run_id=of_run, active=topology)


@step(name="score trials", run_name="trials {first} and on", timeout_s=LONG_TIMEOUT_S)
def score_trials(objective: Objective, batch: Sequence[dict[str, Any]], first: int) -> list[Trial]:
    """One trial per parameter set; failed ones have a reason and no score."""
    return objective.score(batch)


@step(name="search", run_name="{budget} trials one by one", timeout_s=LONG_TIMEOUT_S)
def search_alone(sampler: Sampler, objective: Objective, budget: int) -> SearchResult:
    """Trials one after the other, each chosen by what the ones before taught."""
    return search(sampler, objective, budget, batch=1)


@step(run_name="{run_id} calibration")
def conclude_calibration(settings: Settings, found: Recalibration, run_id: str, publish: bool) -> str:
    """Store calibration and trials; put the candidate in force if it is better and that is wanted. What was done."""
    published = publish and found.better
    with Lake.open(settings.lake) as lake, Store.open(settings) as store:
        store_recalibration(lake, settings.datacenter, run_id, found, published=published, created_ms=wall_clock_ms())
        if published:
            return put_in_force(settings, lake, store, found, run_id)
    return "better, but publishing was not asked for" if found.better else "the model in force stays"


@step(run_name="{run_id} accuracy by day")
def daily_accuracy(settings: LakeSettings, run_id: str, datacenter: str) -> list[dict[str, Any]]:
    """Error of a run per day, beside the uncalibrated topology and persistence."""
    with Lake.open(settings, read_only=True) as lake:
        return accuracy_by_day(lake, run_id, datacenter)
