"""Ask → score many → tell → compare with the model in force → put the better one in force."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from prefect import flow

from flows import artifacts
from flows.parameters import CalibrateParameters
from flows.progress import Progress
from flows.runs import lake_run
from flows.runtime import default_run_id, run_name, say
from opendt.calibration.base import Trial
from opendt.calibration.samplers import Sampler
from opendt.calibration.search import Objective, SearchResult
from opendt.models.topology import Topology
from opendt.power.curves import power_w
from opendt.settings import PrefectSettings, Settings
from opendt.twin.recalibrate import Recalibration
from opendt.twin.recalibrate import recalibrate as fit
from tasks.calibrate import conclude_calibration, read_history, score_trials, search_alone
from tasks.fanout import fan_out


@flow(name="calibrate", flow_run_name=run_name("calibrate", "datacenter"), persist_result=False)
def calibrate(params: CalibrateParameters) -> dict[str, Any]:
    """Fit the power models to the last days, compare on held-out hours, put the result in force if better."""
    settings = params.settings()
    run_id = default_run_id("calibrate")
    with lake_run(settings, run_id, "calibrate"):
        found, done = recalibrate(params, settings, run_id)
    return result(found, done, run_id)


def recalibrate(params: CalibrateParameters, settings: Settings, run_id: str) -> tuple[Recalibration, str]:
    """The whole story, for ``calibrate`` and ``nightly``: what was found and what was done about it."""
    history = read_history(settings, params.days, params.of_run)
    say("Learning from %d readings of run %s.", len(history.measured), history.run_id)
    found = fit(
        history, settings.calibration, method=params.method, heldout_h=params.heldout_h,
        least_gain_points=params.least_gain_points, run_search=partial(side_by_side, settings=settings.prefect),
    )  # fmt: skip
    done = conclude_calibration(settings, found, run_id, params.publish)
    artifacts.publish_markdown("calibration", run_id, calibration_markdown(found, done))
    artifacts.publish_table("trials", run_id, "Best trials first.", trial_table(found))
    say("%s: %s.", found.reason, done)
    return found, done


def side_by_side(
    sampler: Sampler, objective: Objective, budget: int, batch: int, *, settings: PrefectSettings
) -> SearchResult:
    """Like ``opendt.calibration.search.search``, with as many batches under way as there are workers."""
    if batch == 1:
        return search_alone(sampler, objective, budget)
    progress = Progress(budget, "Trials")
    trials: list[Trial] = []
    while len(trials) < budget:
        asked = sampler.ask(min(batch * settings.fan_out_workers, budget - len(trials)))
        if not asked:
            break
        calls = [(objective, asked[i : i + batch], len(trials) + i) for i in range(0, len(asked), batch)]
        for trial in chain.from_iterable(fan_out(score_trials, calls, settings)):
            sampler.tell(trial.parameters, trial.score_mape_pct)
            trials.append(trial)
        progress.update(len(trials), f"{len(trials)} trials")
    progress.done()
    complete = [trial for trial in trials if trial.score_mape_pct is not None]
    return SearchResult(tuple(trials), min(complete, key=lambda t: t.score_mape_pct or 0.0) if complete else None)


def result(found: Recalibration, done: str, run_id: str) -> dict[str, Any]:
    """What the flow returns: plain values."""
    return {
        "run_id": run_id,
        **found.report.summary(),
        "gain_points": found.verdict.gain_pct,
        "better": found.better,
        "reason": found.reason,
        "done": done,
    }


def calibration_markdown(found: Recalibration, done: str) -> str:
    """The decision for people: what was compared, the numbers, why, and what was done."""
    report, verdict = found.report, found.verdict
    return (
        f"## {'Better' if found.better else 'Kept'}: {found.reason}\n\n{done[0].upper()}{done[1:]}.\n\n"
        f"| on {verdict.hours} held-out hours | MAPE |\n|---|---|\n"
        f"| model in force | {verdict.active_heldout_mape_pct:.2f} % |\n"
        f"| candidate | {verdict.heldout_mape_pct:.2f} % |\n\n"
        f"Learned from run {found.history.run_id} with method {report.method}, {len(report.trials)} trials, "
        f"{report.record['score_mape_pct']:.2f} % where it learned.\n\n{_models(found.candidate)}"
    )


def _models(topology: Topology) -> str:
    """Idle and full power per host type, whatever the curve between them."""
    rows = [
        f"| {cluster.name} | {host.name} | {host.count} | {model.modelType} | {idle:.1f} | {full:.1f} |"
        for cluster in topology.clusters
        for host in cluster.hosts
        for model in (host.cpuPowerModel,)
        for idle, full in (power_w(model, np.array([0.0, 1.0])),)
    ]
    head = "| cluster | host type | hosts | curve | idle W | full W |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def trial_table(found: Recalibration, most: int = 50) -> list[dict[str, Any]]:
    """The best trials and every failed one's reason, as rows."""
    failed = any(trial.reason for trial in found.trials)
    ranked = sorted(found.trials, key=lambda t: (t.score_mape_pct is None, t.score_mape_pct or 0.0))
    return [
        {
            "MAPE %": None if trial.score_mape_pct is None else round(trial.score_mape_pct, 3),
            **{path.rpartition(".")[2]: round(_plain(value), 4) for path, value in trial.parameters.items()},
            **({"failed because": trial.reason or ""} if failed else {}),
        }
        for trial in ranked[:most]
    ]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
