"""``read_trace``: a trace folder as checked columns, with a report of what was dropped or repaired."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from opendt.errors import TraceError
from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.models.topology import Topology, load_topology
from opendt.models.workload import Workload
from opendt.traces.columns import CONSUMPTION, OPENDC_FRAGMENTS, OPENDC_TASKS
from opendt.traces.parquet import read_raw
from opendt.traces.telemetry import decode_power, read_carbon
from opendt.traces.values import RowCheck
from opendt.traces.workload import decode

TASKS, FRAGMENTS, POWER, CARBON, TOPOLOGY = (
    "tasks.parquet", "fragments.parquet", "consumption.parquet", "carbon.parquet", "topology.json",
)  # fmt: skip


@dataclass(frozen=True)
class TraceReport:
    """Counts of what a trace holds and of what reading it dropped or repaired.

    ``dropped`` and ``repaired`` map a reason ("fragment of an unknown task") to a number of rows. ``tasks`` and
    ``fragments`` are what is left; the files held ``task_rows`` and ``fragment_rows``.
    """

    tasks: int
    fragments: int
    task_rows: int
    fragment_rows: int
    tasks_without_fragments: int
    power_samples: int = 0
    carbon_samples: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)

    @property
    def runnable(self) -> int:
        """Tasks that have fragments and so run."""
        return self.tasks - self.tasks_without_fragments

    @property
    def fragments_of_unknown_tasks(self) -> int:
        """Fragments dropped because no task has their id."""
        return self.dropped.get("fragment of an unknown task", 0)

    @property
    def tasks_invalid(self) -> int:
        """Task rows dropped because a value was invalid."""
        return self.task_rows - self.tasks

    def sentences(self) -> list[str]:
        """What a person should know about dropped and repaired rows, one sentence each."""
        said = []
        if self.tasks_without_fragments:
            said.append(f"{self.tasks_without_fragments:,} tasks have no fragments and will not run")
        said += [f"{count:,} rows dropped: {reason}" for reason, count in self.dropped.items()]
        said += [f"{count:,} rows repaired: {reason}" for reason, count in self.repaired.items()]
        return said


@dataclass(frozen=True)
class Trace:
    """A recorded or generated cluster.

    Attributes:
        name: the folder's name.
        path: the folder.
        workload: tasks in file order; fragments grouped by task, groups in task order, each in file order.
        power: measured power, None without ``consumption.parquet``.
        carbon: carbon intensity, None where there is none.
        topology: None without ``topology.json`` and without the argument.
        report: counts.
        origin_ms: earliest submission of any task [epoch ms]; relative power times count from here.
        files: every file that was read.
    """

    name: str
    path: Path
    workload: Workload
    power: PowerSeries | None
    carbon: CarbonTrace | None
    topology: Topology | None
    report: TraceReport
    origin_ms: int
    files: tuple[Path, ...] = ()

    @cached_property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of each file read, by file name; computed when first asked for."""
        return {path.name: file_sha256(path) for path in self.files}


def read_trace(path: Path | str, *, topology: Path | str | None = None, skip_invalid: bool = False) -> Trace:
    """A checked trace from an OpenDC-format folder.

    ``tasks.parquet`` and ``fragments.parquet`` are required; ``consumption.parquet``, ``carbon.parquet`` and
    ``topology.json`` optional. The carbon trace is the one the topology names, looked up as named, then under that
    file name beside the topology file and in the folder; without a name it is the folder's ``carbon.parquet``.

    The workload's fragments are grouped by task, groups in the order of the tasks, fragments of a task in file order:
    those of task row ``i`` are ``fragment_count[i]`` rows from ``fragment_count[:i].sum()``. Arrays are contiguous
    and writable.

    Args:
        path: the folder.
        topology: topology file to use instead of the folder's.
        skip_invalid: drop and count rows with invalid values instead of raising.

    Raises:
        TraceError: names file, row (from 0) and column, and what to do.
        TopologyError: the topology is malformed.
    """
    folder = Path(path)
    _require_folder(folder)
    topology_file = Path(topology) if topology is not None else folder / TOPOLOGY
    wants_topology = topology is not None or topology_file.exists()
    found_topology = load_topology(topology_file) if wants_topology else None
    carbon_file = _carbon_file(folder, topology_file, found_topology)
    has_power = (folder / POWER).exists()
    with ThreadPoolExecutor(max_workers=4) as pool:  # files decode side by side; Arrow releases the lock
        reads = [
            pool.submit(read_raw, folder / FRAGMENTS, OPENDC_FRAGMENTS),
            pool.submit(read_raw, folder / TASKS, OPENDC_TASKS),
        ]
        carbon_read = pool.submit(read_carbon, carbon_file, skip_invalid) if carbon_file else None
        power_read = pool.submit(read_raw, folder / POWER, CONSUMPTION) if has_power else None
        raw_fragments, raw_tasks = (read.result() for read in reads)
        decoded = decode(raw_tasks, raw_fragments, skip_invalid)
        workload = decoded.workload
        origin_ms = int(workload.tasks.submission_ms.min())
        dropped, repaired = Counter(decoded.dropped), Counter(decoded.repaired)
        power: PowerSeries | None = None
        if power_read is not None:
            power, check = decode_power(folder / POWER, power_read.result(), origin_ms, skip_invalid)
            _add(dropped, repaired, "power", check)
        carbon: CarbonTrace | None = None
        if carbon_read is not None:
            carbon, check = carbon_read.result()
            _add(dropped, repaired, "carbon", check)

    optional = [(folder / POWER, has_power), (topology_file, wants_topology), (carbon_file, carbon_file is not None)]
    files = [folder / TASKS, folder / FRAGMENTS, *(path for path, there in optional if there and path is not None)]
    report = TraceReport(
        tasks=len(workload.tasks),
        fragments=len(workload.fragments),
        task_rows=raw_tasks.rows,
        fragment_rows=raw_fragments.rows,
        tasks_without_fragments=int((workload.tasks.fragment_count == 0).sum()),
        power_samples=0 if power is None else len(power),
        carbon_samples=0 if carbon is None else len(carbon),
        dropped=dict(dropped),
        repaired=dict(repaired),
    )
    name = folder.resolve().name
    return Trace(name, folder, workload, power, carbon, found_topology, report, origin_ms, tuple(files))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_folder(folder: Path) -> None:
    if not folder.exists():
        raise TraceError(
            f"{folder}: no such folder. Give a trace folder, or make one with `opendt trace make {folder}`.",
            file=str(folder),
        )
    if not folder.is_dir():
        raise TraceError(f"{folder}: is a file. Give the folder that holds tasks.parquet.", file=str(folder))


def _add(dropped: Counter[str], repaired: Counter[str], word: str, check: RowCheck) -> None:
    dropped.update({f"{word} {reason}": count for reason, count in check.dropped.items()})
    repaired.update({f"{word} {reason}": count for reason, count in check.repaired.items()})


def _carbon_file(folder: Path, topology_file: Path, topology: Topology | None) -> Path | None:
    names = [c.powerSource.carbonTracePath for c in topology.clusters] if topology else []
    named = next((Path(name) for name in names if name), None)
    if named is None:
        return folder / CARBON if (folder / CARBON).exists() else None
    places = [named, topology_file.parent / named, topology_file.parent / named.name, folder / named.name]
    for place in places:
        if place.is_file():
            return place
    raise TraceError(
        f"{topology_file.name}: carbonTracePath names {named}, which is neither there nor as {named.name} beside the "
        "topology. Put the file beside it or remove carbonTracePath.",
        file=topology_file.name, column="carbonTracePath",
    )  # fmt: skip
