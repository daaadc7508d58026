"""Comparing an engine with recorded OpenDC runs: every scenario folder below a directory.

A scenario folder holds ``experiment.json`` with its inputs and ``expected/`` with the tables OpenDC wrote: flat for
one scenario, or ``expected/<index>/`` for the cartesian product, each optionally with ``seed=<n>/`` below.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from opendt.engine.base import Engine, SimulationResult, simulate
from opendt.engine.compare_tables import TABLES, Finding, compare_table, stale_hosts, unbounded
from opendt.engine.experiment import Scenario, ScenarioInputs, load_inputs, read_scenarios
from opendt.errors import InputError, OpenDTError

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
STEP_BY_STEP_UP_TO = 50_000  # fragments; about a second
_SEED = re.compile(r"seed=(\d+)")


@dataclass(frozen=True, slots=True)
class Recording:
    """The tables of one recorded run: scenario index, seed and folder."""

    index: int
    seed: int
    folder: Path


@dataclass(slots=True)
class Outcome:
    """What comparing one scenario folder gave.

    Attributes:
        name: folder relative to the directory compared.
        why: broken bounds in words; empty when the scenario passed.
        skipped: why it cannot be compared at all, else None.
        notes: what was not compared.
        findings: the largest deviation of every column.
        wall_s: time spent simulating [s].
    """

    name: str
    why: list[str] = field(default_factory=list)
    skipped: str | None = None
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every bound held."""
        return not self.why and self.skipped is None

    @property
    def failed(self) -> bool:
        """Whether a bound was broken or the scenario could not be run."""
        return bool(self.why)

    def largest(self, *names: str) -> float | None:
        """The largest deviation among findings called ``table.column``; None where none was compared."""
        values = [f.deviation for f in self.findings if f.name in names]
        return max(values) if values else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All outcomes, in the order of their names."""

    engine: str
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> list[Outcome]:
        """Scenarios that broke a bound or could not be run."""
        return [o for o in self.outcomes if o.failed]

    def as_json(self) -> dict[str, Any]:
        """``scenarios, passed, failed: [{name, why}]``, and ``skipped`` and ``details``."""
        return {
            "engine": self.engine,
            "scenarios": len(self.outcomes),
            "passed": sum(o.passed for o in self.outcomes),
            "failed": [{"name": o.name, "why": "; ".join(o.why)} for o in self.failed],
            "skipped": [{"name": o.name, "why": o.skipped} for o in self.outcomes if o.skipped],
            "details": [
                {
                    "name": o.name,
                    "passed": o.passed,
                    "wall_s": round(o.wall_s, 4),
                    "notes": o.notes,
                    "deviations": {f.name: f.deviation for f in o.findings},
                }
                for o in self.outcomes
            ],
        }


def find_scenarios(root: Path) -> list[Path]:
    """Scenario folders at or below ``root``, by name: those that hold ``experiment.json`` or ``expected/``.

    Raises ``InputError`` when there is none.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder. Give a folder with scenarios (experiment.json and expected/).")
    found = {path.parent for path in root.rglob("experiment.json")} | {
        path.parent for path in root.rglob("expected") if path.is_dir()
    }
    if not found:
        raise InputError(f"{root}: holds no scenario. A scenario is a folder with experiment.json and expected/.")
    return sorted(found)


def compare(engine: Engine, root: Path, progress: Progress | None = None, *, strict: bool = False) -> Comparison:
    """Run every scenario below ``root`` and compare; ``progress`` is told (name, number, total) before each.

    ``strict`` bounds every column, to float32 precision, and follows OpenDC's update procedure step by step whatever
    the size of the workload.

    Raises ``InputError`` only when there is nothing to compare: what is wrong with one scenario is its outcome.
    """
    folders = find_scenarios(root)
    outcomes = []
    for number, folder in enumerate(folders):
        name = folder.name if folder == root else str(folder.relative_to(root))
        if progress:
            progress(name, number, len(folders))
        outcomes.append(compare_folder(engine, folder, name, strict=strict))
    return Comparison(engine.name, tuple(outcomes))


def compare_folder(engine: Engine, folder: Path, name: str | None = None, *, strict: bool = False) -> Outcome:
    """Run the scenarios of one folder and compare each with its recording."""
    outcome = Outcome(name or folder.name)
    try:
        _compare_folder(engine, folder, outcome, strict)
    except (OpenDTError, OSError, pa.ArrowException) as error:
        outcome.why.append(_first_line(error))
    except Exception as error:  # a defect that one scenario shows must not hide what the others show
        log.debug("scenario %s", outcome.name, exc_info=True)
        outcome.why.append(f"{engine.name} engine raised {type(error).__name__}: {_first_line(error)}")
    return outcome


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _compare_folder(engine: Engine, folder: Path, outcome: Outcome, strict: bool) -> None:
    scenarios = read_scenarios(folder / "experiment.json")
    found = list(recordings(folder / "expected"))
    if not found:
        raise InputError(f"{folder / 'expected'}: holds no table ({', '.join(t.file for t in TABLES)}).")
    if not all(s.deterministic for s in scenarios):
        outcome.skipped = "failures are drawn from unseeded distributions: compare distributions, not samples"
        return
    absent = sorted({s.index for s in scenarios} - {r.index for r in found})
    if absent:
        outcome.notes.append(f"no recording of scenario {', '.join(map(str, absent))}")
    for recording in found:
        if recording.index >= len(scenarios):
            raise InputError(f"{recording.folder}: experiment.json has only {len(scenarios)} scenario(s).")
        _compare_recording(engine, scenarios[recording.index], recording, outcome, label=len(found) > 1, strict=strict)


def recordings(expected: Path) -> Iterator[Recording]:
    """The recorded runs in an ``expected/`` folder."""
    if _has_tables(expected):
        yield Recording(0, 0, expected)
        return
    for folder in sorted(p for p in expected.glob("*") if p.is_dir()) if expected.is_dir() else ():
        seed = _SEED.fullmatch(folder.name)
        if seed and _has_tables(folder):
            yield Recording(0, int(seed.group(1)), folder)
        elif folder.name.isdigit():
            if _has_tables(folder):
                yield Recording(int(folder.name), 0, folder)
            for below in sorted(folder.glob("seed=*")):
                if (number := _SEED.fullmatch(below.name)) and _has_tables(below):
                    yield Recording(int(folder.name), int(number.group(1)), below)


def _has_tables(folder: Path) -> bool:
    return any((folder / table.file).is_file() for table in TABLES)


def _compare_recording(
    engine: Engine, scenario: Scenario, recording: Recording, outcome: Outcome, *, label: bool, strict: bool
) -> None:
    inputs = load_inputs(scenario, recording.seed)
    expected = _read(recording.folder)
    for table in TABLES:
        if table.name in expected:
            absent = unbounded(table, expected[table.name])
            if absent:
                outcome.notes.append(f"{recording.folder.name}/{table.file} has no {', '.join(absent)}: not compared")
        elif not table.optional:
            outcome.notes.append(f"{recording.folder.name}/{table.file} is absent: not compared")
    started = time.perf_counter()
    result = _run(engine, inputs, expected, strict)
    outcome.wall_s += time.perf_counter() - started
    prefix = f"scenario {recording.index}: " if label else ""
    stale = set() if strict else stale_hosts(expected.get("host"))
    broken: list[str] = []
    for table in TABLES:
        if table.name not in expected:
            continue
        actual = getattr(result, table.attribute)
        if actual is None:
            broken.append(f"{prefix}{table.name}: the engine gave no such table")
            continue
        findings, why = compare_table(table, expected[table.name], actual, stale, strict=strict)
        broken += [prefix + text for text in why]
        _merge(outcome.findings, findings)
    if broken and scenario.failures is not None and inputs.topology.host_count > 1:
        outcome.skipped = f"{prefix}OpenDC shuffles failing hosts with an unseeded generator: no two runs need agree"
    else:
        outcome.why += broken


def _read(folder: Path) -> dict[str, pa.Table]:
    tables = {}
    for table in TABLES:
        path = folder / table.file
        if path.is_file():
            try:
                tables[table.name] = pq.read_table(path)
            except (pa.ArrowException, OSError) as error:
                text = str(error).splitlines()[0]
                raise InputError(f"{path}: cannot be read as Parquet ({text}). Copy it again from the run.") from None
    return tables


def _run(engine: Engine, inputs: ScenarioInputs, expected: dict[str, pa.Table], strict: bool) -> SimulationResult:
    """Simulate, recording the tables there is something to compare with.

    Small workloads follow OpenDC's update procedure step by step: only it knows the order of what coincides with the
    very end of a run.
    """
    options = replace(
        inputs.options, host_every=1 if "host" in expected else 0, task_rows="task" in expected, occupancy_knots=0,
        exact=strict or len(inputs.workload.fragments) <= STEP_BY_STEP_UP_TO,
    )  # fmt: skip
    return simulate(engine, inputs.topology, inputs.workload, options, inputs.carbon)


def _merge(findings: list[Finding], more: list[Finding]) -> None:
    at = {finding.name: index for index, finding in enumerate(findings)}
    for finding in more:
        index = at.get(finding.name)
        if index is None:
            findings.append(finding)
        elif finding.deviation > findings[index].deviation:
            findings[index] = finding
