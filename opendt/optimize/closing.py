"""What a run does about its proposals when it ends: make them, and move earlier ones on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from opendt.engine.base import Engine
from opendt.lake import Lake
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.optimize.auto import auto_approve
from opendt.optimize.decisions import Desk, expire, reconcile
from opendt.optimize.evaluate import Evaluator
from opendt.optimize.evidence import calibrated
from opendt.optimize.history import past_proposals
from opendt.optimize.propose import propose_at_end
from opendt.optimize.realised import follow_up
from opendt.optimize.slo import SloWatch
from opendt.optimize.sources import search_options
from opendt.optimize.trials import make_problem
from opendt.settings import Settings
from opendt.store import Decision, Store, copy_events


@dataclass(frozen=True, slots=True)
class Settled:
    """Decisions taken without a person, and sentences about what was and was not done."""

    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


def proposals_at_end(
    settings: Settings,
    store: Store,
    lake: Lake,
    engine: Engine,
    topology: Topology,
    workload: Workload,
    carbon: CarbonTrace | None,
    *,
    run_id: str,
    window_index: int | None,
) -> list[dict[str, Any]]:
    """Rows of table ``proposals`` for a run: objectives in force, simulated with the run's calibrated power model.

    Empty when ``optimize.strategy`` is off. The caller stores the rows (``lake.upsert``), then calls ``settle``.
    Raises ``EngineError`` when the topology in force cannot be simulated.
    """
    if settings.optimize.strategy == "off":
        return []
    slo = SloWatch(settings, store).current().slo
    model, evidence = calibrated(lake, run_id, settings.datacenter, topology)
    evaluator = Evaluator(engine, workload, carbon, search_options(settings))
    return propose_at_end(
        topology,
        slo,
        run_id=run_id,
        datacenter=settings.datacenter,
        window_index=window_index,
        created_ms=time.time_ns() // 1_000_000,
        problem=make_problem(
            topology,
            evaluator,
            slo,
            settings.optimize,
            model=model,
            evidence=evidence,
            history=past_proposals(lake, settings.datacenter, topology.version),
        ),
        strategy=settings.optimize.strategy,
        budget=settings.optimize.budget,
        llm=settings.llm,
    )


def settle(
    settings: Settings, store: Store, lake: Lake, run_id: str, rows: list[dict[str, Any]] | None = None
) -> Settled:
    """Move proposals on after windows were committed: applied, verified with their realised effect, expired, and the
    new ``rows`` approved where a policy allows it. Never waits for a person.

    Raises ``TransientError`` when an automatic approval could not be published; it is recorded all the same.
    """
    desk = Desk.of(settings, store, lake)
    if rows:
        reconcile(desk, rows)
    done = follow_up(desk, run_id)
    notes = [f"{d.proposal_id} {d.decision}: {d.reason}" for d in done]
    expired = expire(desk)
    if expired:
        notes.append(f"{len(expired)} proposals expired undecided")
    done += expired
    if rows:
        activation, why = auto_approve(desk, rows)
        if activation is not None and activation.decision is not None:
            done.append(activation.decision)
        if activation is not None or settings.optimize.auto_approve:
            notes.append(why)
    copy_events(store, lake)  # objectives that changed meanwhile, too
    return Settled(tuple(done), tuple(notes))
