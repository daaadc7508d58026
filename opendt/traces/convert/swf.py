"""The Standard Workload Format (SWF) of the Parallel Workloads Archive: one job per line, 18 numbers, -1 for unknown.

Source: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html, version 2.2; D. Feitelson, D. Tsafrir, D. Krakov,
"Experience with using the Parallel Workloads Archive", JPDC 74(10), 2014, doi:10.1016/j.jpdc.2014.06.013.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opendt.errors import ConfigError, TraceError
from opendt.models.workload import Fragments, Workload, make_tasks, task_numbers
from opendt.traces.convert.common import LineCheck, LineProblem, number
from opendt.units import MS_PER_S

# Our name of each field used, and its position from 0.
COLUMNS: dict[str, int] = {
    "job number": 0,
    "submit time": 1,
    "run time": 3,
    "allocated processors": 4,
    "average CPU time": 5,
    "used memory": 6,
    "requested processors": 7,
    "requested memory": 9,
}
FIELDS = 18


@dataclass(frozen=True, slots=True)
class SwfOptions:
    """What a log does not say.

    Attributes:
        core_speed_mhz: speed of a processor [MHz]; turns CPU time into demand.
        cores_per_host: split jobs into tasks of at most this many cores, since a task runs on one host; None for never.
    """

    core_speed_mhz: float = 2100.0
    cores_per_host: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.core_speed_mhz < float("inf"):
            raise ConfigError(f"core speed is {self.core_speed_mhz}; must be above 0 MHz.", setting="core_speed_mhz")
        if self.cores_per_host is not None and self.cores_per_host < 1:
            raise ConfigError(f"cores per host is {self.cores_per_host}; must be 1 or more.", setting="cores_per_host")


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a log, unknowns replaced."""

    name: str
    submit_ms: int
    run_ms: int
    processors: int
    busy_ratio: float
    memory_kb: int  # per processor


def read_swf(source: Path, check: LineCheck, options: SwfOptions | None = None) -> Workload:
    """The workload of a log file, plain or gzip; jobs become tasks with one fragment as long as their run time.

    Demand is processors x speed x CPU time / run time, or all of it where CPU time is unknown. Processors are those
    allocated, else those requested. ``mem_capacity`` is memory per processor in KB times processors. Jobs without run
    time stay tasks without fragments; jobs without processors are dropped. Wait times, dependencies and users are not
    used: the simulation schedules anew.

    Raises ``TraceError``: not a log, a bad line, or nothing is left.
    """
    options = options or SwfOptions()
    start_s = 0.0
    jobs: list[Job] = []
    seen: set[str] = set()
    for index, line in enumerate(_lines(source), start=1):
        text = line.strip()
        if text.startswith(";"):
            start_s = _start_s(text, start_s)
        elif text:
            try:
                job = _job(text.split(), start_s, check)
                if job is not None and job.name in seen:
                    raise LineProblem("job number", f"is {job.name}, which an earlier line has", "job number twice")
            except LineProblem as problem:
                check.problem(source.name, index, problem)
                continue
            if job is not None:
                seen.add(job.name)
                jobs.append(job)
    if not jobs:
        dropped = f" ({dict(check.dropped)})" if check.dropped else ""
        raise TraceError(f"{source.name}: has no usable job{dropped}. Give an SWF file.", file=source.name)
    jobs.sort(key=lambda job: job.submit_ms)
    return _workload(jobs, check, options)


def _lines(source: Path) -> list[str]:
    try:
        data = source.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        raise TraceError(f"{source}: no such file. Give an SWF file.", file=str(source)) from None
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{source}: cannot be read ({error}).", file=str(source)) from None


def _start_s(comment: str, otherwise: float) -> float:
    name, _, value = comment.lstrip("; ").partition(":")
    try:
        return float(value) if name.strip().lower() == "unixstarttime" else otherwise
    except ValueError:
        return otherwise


def _job(cells: list[str], start_s: float, check: LineCheck) -> Job | None:
    if len(cells) != FIELDS:
        raise LineProblem("line", f"has {len(cells)} fields; must have {FIELDS}", "line with other than 18 fields")
    value = {name: number(cells[at], name, low=None) for name, at in COLUMNS.items()}
    if value["submit time"] < 0:
        raise LineProblem("submit time", f"is {cells[1]}; must be at least 0", "submit time negative")
    known = [value[name] for name in ("allocated processors", "requested processors") if value[name] > 0]
    if not known:
        check.dropped["job without processors"] += 1
        return None
    run_s = value["run time"]
    if run_s <= 0:
        check.notes["job without run time, will not run"] += 1
        run_s = 0.0
    busy = 1.0
    if run_s > 0 and value["average CPU time"] >= 0:
        busy = value["average CPU time"] / run_s
        if busy > 1:
            check.notes["job with more CPU time than run time, cut to run time"] += 1
            busy = 1.0
    elif run_s > 0:
        check.notes["job without CPU time, taken as fully busy"] += 1
    memory = max(value["used memory"], value["requested memory"], 0.0)
    submit_ms = round((start_s + value["submit time"]) * MS_PER_S)
    return Job(cells[0], submit_ms, round(run_s * MS_PER_S), round(known[0]), busy, round(memory))


def _workload(jobs: list[Job], check: LineCheck, options: SwfOptions) -> Workload:
    parts = [part for job in jobs for part in _parts(job, options.cores_per_host)]
    split = sum(1 for job in jobs if options.cores_per_host and job.processors > options.cores_per_host)
    if split:
        check.notes["job split over hosts"] += split
    cores = np.array([processors for _, _, processors in parts], np.int64)
    run_ms = np.array([job.run_ms for job, _, _ in parts], np.int64)
    runs = run_ms > 0
    usage = cores * options.core_speed_mhz * np.array([job.busy_ratio for job, _, _ in parts])
    names = [name for _, name, _ in parts]
    tasks = make_tasks(
        task_numbers(names),
        np.array([job.submit_ms for job, _, _ in parts], np.int64),
        name=np.array(names, np.str_),
        duration_ms=run_ms,
        cpu_count=cores.astype(np.int32),
        cpu_capacity_mhz=cores * options.core_speed_mhz,
        mem_capacity=cores * np.array([job.memory_kb for job, _, _ in parts], np.int64),
        fragment_count=runs.astype(np.int64),
        has_cpu_usage=runs & (usage > 0),
    )
    return Workload(tasks, Fragments(tasks.task_id[runs], run_ms[runs], usage[runs], np.zeros(int(runs.sum()))))


def _parts(job: Job, cores_per_host: int | None) -> list[tuple[Job, str, int]]:
    """(job, task name, cores) of the tasks a job becomes."""
    if cores_per_host is None or job.processors <= cores_per_host:
        return [(job, job.name, job.processors)]
    whole, rest = divmod(job.processors, cores_per_host)
    sizes = [cores_per_host] * whole + ([rest] if rest else [])
    return [(job, f"{job.name}.{at}", size) for at, size in enumerate(sizes)]
