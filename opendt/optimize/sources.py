"""Where a question about a topology comes from: a trace folder, or a run in the lake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from opendt.engine import get_engine
from opendt.engine.base import EngineOptions
from opendt.errors import InputError, LakeError
from opendt.lake import Lake
from opendt.models.topology import Topology, load_topology, parse_topology
from opendt.optimize.evaluate import Evaluator
from opendt.optimize.evidence import calibrated
from opendt.optimize.history import past_proposals
from opendt.optimize.trials import Problem, make_problem
from opendt.settings import Settings, SloSettings
from opendt.traces import Trace, read_trace
from opendt.units import MS_PER_S

TRACES = Path("data/traces")


@dataclass(frozen=True, slots=True)
class Period:
    """Part of a trace by submission time [epoch ms], None for open."""

    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A problem and where it comes from; ``window_index`` is the last window of the run it is based on."""

    problem: Problem
    trace: Trace
    run_id: str | None
    window_index: int | None


def from_trace(
    settings: Settings,
    trace: Trace,
    slo: SloSettings,
    *,
    topology: Topology | None = None,
    period: Period | None = None,
    lake: Lake | None = None,
) -> Source:
    """A problem on a trace, its own topology unless another is given. Raises ``InputError`` without any.

    ``lake``: where earlier proposals about that topology are looked up, to start from.
    """
    part = _part(trace, period)
    base = topology or trace.topology
    if base is None:
        raise InputError(f"{trace.path} has no topology.json. Give a topology with --topology FILE.")
    history = past_proposals(lake, settings.datacenter, base.version) if lake else ()
    problem = make_problem(base, evaluator(settings, part), slo, settings.optimize, history=history)
    return Source(problem, part, None, None)


def from_run(
    settings: Settings,
    lake: Lake,
    run_id: str,
    slo: SloSettings,
    *,
    trace: Trace | None = None,
    period: Period | None = None,
) -> Source:
    """A problem on what a run replayed: its last topology, its calibrated power model and the evidence for it.

    The lake keeps results, not fragments, so the trace is read again: the one given, or the one in the folder the run
    read it from, or one of its name below ``data/traces``.

    Raises ``InputError`` when there is no such run or its trace cannot be found.
    """
    rows = lake.rows(
        "SELECT * FROM runs WHERE run_id = ? AND datacenter = ?",
        [run_id, settings.datacenter],
    )
    if not rows:
        raise InputError(f"datacenter {settings.datacenter} has no run {run_id}. See `opendt runs`.", run_id=run_id)
    found = trace or read_trace(find_trace(run_id, rows[0]["trace"], path=rows[0].get("trace_path")))
    topology, last = _last_topology(lake, run_id, settings.datacenter)
    asked = period or Period(None, None)
    model, evidence = calibrated(lake, run_id, settings.datacenter, topology, asked.start_ms, asked.end_ms)
    history = past_proposals(lake, settings.datacenter, topology.version)
    part = _part(found, period)
    problem = make_problem(
        topology, evaluator(settings, part), slo, settings.optimize, model=model, evidence=evidence, history=history
    )
    return Source(problem, part, run_id, last)


def evaluator(settings: Settings, trace: Trace) -> Evaluator:
    """The configured engine on a trace's workload, with the coarse samples of a search."""
    engine = get_engine(settings.engine.name, settings)
    return Evaluator(engine, trace.workload, trace.carbon, search_options(settings))


def search_options(settings: Settings) -> EngineOptions:
    """Engine options of the settings, with samples as coarse as a search needs and no host rows."""
    s = settings.engine
    return EngineOptions(
        sample_interval_ms=settings.optimize.sample_interval_s * MS_PER_S,
        host_every=0,
        scaling=s.scaling,
        allocation=s.allocation,
        seed=s.seed,
    )


def find_trace(run_id: str, name: str | None, below: Path = TRACES, *, path: str | None = None) -> Path:
    """The folder of a run's trace: where the run read it, else one of that name.

    Raises ``InputError`` when the run was a live stream or there is no such folder.
    """
    if not name:
        raise InputError(
            f"run {run_id} took its workload from a live stream, which the lake does not keep. Give --trace DIR.",
            run_id=run_id,
        )
    places = [*([Path(path)] if path else []), Path(name), below / name, *sorted(below.glob(f"*/{name}"))]
    for place in places:
        if (place / "tasks.parquet").is_file():
            return place
    raise InputError(
        f"run {run_id} replayed trace {name}, which is no longer in {path or 'its folder'} and not below {below}. "
        "Give its folder with --trace.",
        run_id=run_id, trace=name,
    )  # fmt: skip


def _part(trace: Trace, period: Period | None) -> Trace:
    from opendt.traces.slicing import slice_trace

    if period is None or (period.start_ms is None and period.end_ms is None):
        return trace
    last = int(trace.workload.tasks.submission_ms.max()) + 1
    start = trace.origin_ms if period.start_ms is None else period.start_ms
    return slice_trace(trace, start, last if period.end_ms is None else period.end_ms)


def _last_topology(lake: Lake, run_id: str, datacenter: str) -> tuple[Topology, int | None]:
    rows = lake.rows(
        """SELECT t.topology_json, w.window_index FROM windows w
        JOIN topologies t ON t.datacenter = w.datacenter AND t.version = w.topology_version
        WHERE w.run_id = ? AND w.datacenter = ? ORDER BY w.window_index DESC LIMIT 1""",
        [run_id, datacenter],
    )
    if not rows:
        raise LakeError(f"run {run_id} has not committed a window yet; there is nothing to improve.", run_id=run_id)
    return parse_topology(orjson.loads(rows[0]["topology_json"]), f"topology of run {run_id}"), rows[0]["window_index"]


def load_topology_option(path: Path | None) -> Topology | None:
    """The topology of a file, None without one."""
    return None if path is None else load_topology(path)
