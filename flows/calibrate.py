"""Ask → score many → tell → compare with the model in force → put the better one in force."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from flows import artifacts
from flows.parameters import CalibrateParameters
from flows.progress import Progress
from flows.runs import lake_run
from flows.runtime import default_run_id, run_name, say
from opendt.calibration.base import Trial
from opendt.calibration.samplers import make_sampler
from opendt.calibration.search import PricedObjective
from opendt.settings import Settings
from opendt.twin.history import History
from opendt.twin.recalibrate import Recalibration, conclude, space_of, split
from tasks.calibrate import conclude_calibration, read_history, score_trials
from tasks.fanout import fan_out


@flow(name="calibrate", flow_run_name=run_name("calibrate", "datacenter"), persist_result=False)
def calibrate(params: CalibrateParameters) -> dict[str, Any]:
    """Search the power model's parameters on the last days, compare on held-out hours, publish if better."""
    settings = params.settings()
    run_id = default_run_id("calibrate")
    with lake_run(settings, run_id, "calibrate"):
        found, done = recalibrate(params, settings, run_id)
    return result(found, done, run_id)


def recalibrate(params: CalibrateParameters, settings: Settings, run_id: str) -> tuple[Recalibration, str]:
    """The whole story, for ``calibrate`` and ``nightly``: what was found and what was done about it."""
    history = read_history(settings, params.days, params.of_run)
    trained, heldout = split(history, params.heldout_h)
    say("Learning from %d readings of run %s.", len(trained.measured), history.run_id)
    trials = ask_and_tell(trained, settings, params.method)
    found = conclude(
        trained, heldout, trials, method=params.method, calibration_id=f"{params.method}-{run_id}",
        least_gain_points=params.least_gain_points,
    )  # fmt: skip
    done = conclude_calibration(settings, found, run_id, params.publish)
    artifacts.publish_markdown("calibration", run_id, calibration_markdown(found, done))
    artifacts.publish_table("trials", run_id, "Best trials first.", trial_table(found))
    say("%s: %s.", found.verdict.reason, done)
    return found, done


def ask_and_tell(trained: History, settings: Settings, method: str) -> list[Trial]:
    """Trials until the budget is spent or the sampler has nothing left; batches are scored side by side."""
    chosen = settings.calibration
    objective = PricedObjective(trained.topology, trained.occupancy, trained.measured)
    sampler = make_sampler(method, space_of(chosen, trained.topology), chosen.seed, chosen.grid_points)
    progress = Progress(chosen.trials, f"Trials of {method}")
    trials: list[Trial] = []
    while len(trials) < chosen.trials:
        most = min(chosen.batch * settings.prefect.fan_out_workers, chosen.trials - len(trials))
        asked = sampler.ask(most)
        if not asked:
            break
        parts = [asked[i : i + chosen.batch] for i in range(0, len(asked), chosen.batch)]
        calls = [(objective, part, len(trials) + number * chosen.batch) for number, part in enumerate(parts)]
        for scored in fan_out(score_trials, calls, settings.prefect):
            for trial in scored:
                sampler.tell(trial.parameters, trial.score_mape_pct)
                trials.append(trial)
        progress.update(len(trials), f"{len(trials)} trials")
    progress.done()
    return trials


def result(found: Recalibration, done: str, run_id: str) -> dict[str, Any]:
    """What the flow returns: plain values."""
    return {
        "run_id": run_id,
        "calibration_id": found.calibration_id,
        "method": found.method,
        "parameters": {name: _plain(value) for name, value in found.best.parameters.items()},
        "trials": len(found.trials),
        "score_mape_pct": found.best.score_mape_pct,
        "done": done,
        **asdict(found.verdict),
    }


def calibration_markdown(found: Recalibration, done: str) -> str:
    """The decision for people: what was compared, the numbers, why, and what was done."""
    verdict = found.verdict
    parameters = "\n".join(f"| {path} | {_plain(value):.5g} |" for path, value in found.best.parameters.items())
    return (
        f"## {verdict.reason[0].upper()}{verdict.reason[1:]}\n\n{done[0].upper()}{done[1:]}.\n\n"
        f"| on {verdict.hours} held-out hours | MAPE |\n|---|---|\n"
        f"| model in force | {verdict.active_mape_pct:.2f} % |\n| candidate | {verdict.candidate_mape_pct:.2f} % |\n\n"
        f"Best of {len(found.trials)} {found.method} trials, {found.best.score_mape_pct:.2f} % where it learned:\n\n"
        f"| parameter | value |\n|---|---|\n{parameters}\n"
    )


def trial_table(found: Recalibration, most: int = 50) -> list[dict[str, Any]]:
    """The best trials and every failed one's reason, as rows."""
    ranked = sorted(found.trials, key=lambda t: (t.score_mape_pct is None, t.score_mape_pct or 0.0))
    return [
        {
            "MAPE %": None if trial.score_mape_pct is None else round(trial.score_mape_pct, 3),
            **{path.rpartition(".")[2]: round(_plain(value), 4) for path, value in trial.parameters.items()},
            "failed because": trial.reason or "",
        }
        for trial in ranked[:most]
    ]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
