"""GWA-T-12 Bitbrains: one CSV file per virtual machine, one row per 5 minutes.

Source: Grid Workloads Archive, http://gwa.ewi.tudelft.nl/datasets/gwa-t-12-bitbrains; S. Shen, V. van Beek,
A. Iosup, "Statistical Characterization of Business-Critical Workloads Hosted in Cloud Datacenters", CCGrid 2015,
doi:10.1109/CCGrid.2015.60. Columns are separated by a semicolon and a tab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opendt.errors import TraceError
from opendt.models.workload import Fragments, Workload, make_tasks, task_numbers
from opendt.traces.convert.common import LineCheck, LineProblem, number
from opendt.traces.telemetry import ABSOLUTE_FROM_MS
from opendt.units import MS_PER_S

# Our name of each column used, and how the header begins (units in brackets and spelling vary between archives).
COLUMNS: dict[str, str] = {
    "time": "timestamp",
    "cpu_count": "cpu cores",
    "cpu_capacity_mhz": "cpu capacity provisioned",
    "cpu_usage_mhz": "cpu usage [mhz]",
    "mem_capacity_kb": "memory capacity provisioned",
}
SAMPLE_MS = 300_000  # length of the last sample of a machine, and of a machine with one sample


@dataclass(frozen=True, slots=True)
class Machine:
    """Samples of one virtual machine, by time."""

    name: str
    time_ms: np.ndarray
    usage_mhz: np.ndarray
    cpu_count: int
    cpu_capacity_mhz: float
    mem_capacity_kb: int


def read_bitbrains(source: Path, check: LineCheck) -> Workload:
    """The workload of a folder of CSV files (or one file); a machine is a task that is submitted at its first sample.

    A sample's usage holds until the next sample. ``mem_capacity`` is the provisioned memory in KB, as OpenDC's own
    Bitbrains traces have it. Cores, capacity and memory are the largest a machine ever had. Times below
    ``ABSOLUTE_FROM_MS`` are seconds, which is what the archive's files hold under the heading "[ms]".

    Raises ``TraceError``: no CSV file, a column is missing, a bad line, or nothing is left.
    """
    files = sorted(source.glob("*.csv"), key=_by_number) if source.is_dir() else [source]
    if not source.exists() or not files:
        raise TraceError(f"{source}: no CSV file here. Give the folder with one .csv per machine.", file=str(source))
    read = (_machine(path, check) for path in files)
    machines = [machine for machine in read if machine is not None]
    if not machines:
        raise TraceError(f"{source}: no machine has a valid sample ({dict(check.dropped)}).", file=str(source))
    machines.sort(key=lambda machine: int(machine.time_ms[0]))
    return _workload(machines)


def _by_number(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdigit() else 2**63, path.name)


def _machine(path: Path, check: LineCheck) -> Machine | None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path.name}: cannot be read as text ({error}).", file=path.name) from None
    if not lines:
        raise TraceError(f"{path.name}: is empty. Remove it or fetch it again.", file=path.name)
    places = _places(path.name, [cell.strip().strip('"').lower() for cell in lines[0].split(";")])
    rows: list[tuple[float, ...]] = []
    for index, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            rows.append(_row(line, places))
        except LineProblem as problem:
            check.problem(path.name, index, problem)
    if not rows:
        check.dropped["machine without samples"] += 1
        return None
    return _ordered(path.stem, np.array(rows), check)


def _places(file: str, header: list[str]) -> list[int]:
    places = []
    for name in COLUMNS.values():
        found = next((at for at, cell in enumerate(header) if cell.startswith(name)), None)
        if found is None:
            raise TraceError(
                f"{file}: column {name} is missing (found: {', '.join(header)}). Give files of GWA-T-12 Bitbrains, "
                "separated by semicolons.",
                file=file, column=name,
            )  # fmt: skip
        places.append(found)
    return places


def _row(line: str, places: Sequence[int]) -> tuple[float, ...]:
    cells = line.split(";")
    if len(cells) <= max(places):
        raise LineProblem("line", f"has {len(cells)} columns; must have at least {max(places) + 1}", "line too short")
    names = COLUMNS.values()
    return tuple(number(cells[at].strip(), name) for at, name in zip(places, names, strict=True))


def _ordered(name: str, rows: np.ndarray, check: LineCheck) -> Machine:
    time_ms = np.round(rows[:, 0] * (MS_PER_S if rows[:, 0].max() < ABSOLUTE_FROM_MS else 1)).astype(np.int64)
    late = int(np.count_nonzero(np.diff(time_ms) < 0))
    if late:
        check.notes["samples out of time order, sorted"] += late
    time_ms, first = np.unique(time_ms, return_index=True)
    if len(first) < len(rows):
        check.dropped["sample with the time of an earlier one"] += len(rows) - len(first)
    return Machine(
        name,
        time_ms,
        rows[first, 3],
        max(1, round(rows[:, 1].max())),
        float(rows[:, 2].max()),
        round(rows[:, 4].max()),
    )


def _workload(machines: list[Machine]) -> Workload:
    count = np.array([len(m.time_ms) for m in machines], np.int64)
    tasks = make_tasks(
        task_numbers(m.name for m in machines),
        np.array([m.time_ms[0] for m in machines]),
        name=np.array([m.name for m in machines], np.str_),
        duration_ms=np.array([m.time_ms[-1] - m.time_ms[0] + SAMPLE_MS for m in machines]),
        cpu_count=np.array([m.cpu_count for m in machines], np.int32),
        cpu_capacity_mhz=np.array([m.cpu_capacity_mhz for m in machines]),
        mem_capacity=np.array([m.mem_capacity_kb for m in machines]),
        fragment_count=count,
        has_cpu_usage=np.array([bool((m.usage_mhz > 0).any()) for m in machines]),
    )
    fragments = Fragments(
        np.repeat(tasks.task_id, count),
        np.concatenate([np.append(np.diff(m.time_ms), SAMPLE_MS) for m in machines]),
        np.concatenate([m.usage_mhz for m in machines]),
        np.zeros(int(count.sum())),
    )
    return Workload(tasks, fragments)
