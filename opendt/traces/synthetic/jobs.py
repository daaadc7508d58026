"""Synthetic tasks and fragments with the statistics of the SURF week.

What was measured there and is kept here: a fifth of the tasks is too short for a sample and has no fragments; nearly
all others take whole hosts; run times span five decades; arrays of similar tasks arrive together, mostly on weekdays
and in working hours; many tasks already run when the recording starts; demand of a task is either close to everything
or close to nothing, and changes slowly.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter

from opendt.models.workload import Fragments, Workload, make_tasks, with_fragment_facts
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.units import MS_PER_HOUR, MS_PER_S

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

FIRST_ID = 1_000_001
BLINK_SHARE_RATIO = 0.2  # tasks too short for a sample
MEMORY_MIB = 131_072  # of a host

# Run time [s] at quantiles, measured on the SURF week; straight lines between them on a log scale.
_RUN_QUANTILE = np.array([0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0])
_RUN_TIME_S = np.array([5.0, 13.0, 43.0, 72.0, 2_230.0, 15_120.0, 48_270.0, 171_000.0, 432_000.0])

# Share of submissions by hour of a weekday; weekends have half of it.
_HOUR_WEIGHT = np.array([
    0.5, 0.3, 0.3, 0.3, 0.4, 0.5, 1.5, 2.0, 3.0, 3.5, 4.5, 4.5,
    4.5, 4.5, 4.5, 4.5, 4.5, 4.0, 3.0, 2.0, 1.5, 1.5, 1.0, 0.8,
])  # fmt: skip
_WEEKEND_RATIO = 0.5
_LARGEST_ARRAY = 50


def make_workload(options: SyntheticOptions, rng: Generator) -> Workload:
    """Tasks sorted by submission, fragments grouped by task, every fragment inside the recording."""
    burst = _burst_size(options)
    submitted_s, array = _arrivals(options, options.task_count - burst, rng)
    run_s = np.concatenate([_residual_run_s(burst, rng), _run_s(array, rng)])
    submission_ms = options.start_ms + MS_PER_S * np.concatenate([np.zeros(burst, np.int64), submitted_s])
    group = np.concatenate([np.arange(burst), burst + array])
    blink = rng.random(len(run_s)) < BLINK_SHARE_RATIO
    blink[0] = False  # the recording starts with a running task
    run_s = np.where(blink, np.minimum(rng.exponential(7.0, len(run_s)), 29.0), run_s)
    run_s = np.minimum(run_s, (options.end_ms - submission_ms) / MS_PER_S)
    count = _fragment_count(options, submission_ms, run_s, blink)
    cores = _cores(options, len(run_s), blink, rng)
    usage = _usage_ratio(count, group, rng)
    steps = np.round(usage * 100 * np.repeat(cores, count))
    tasks = make_tasks(
        FIRST_ID + np.arange(len(run_s)),
        submission_ms,
        duration_ms=np.where(run_s < 1, 0, run_s).astype(np.int64) * MS_PER_S,
        cpu_count=cores.astype(np.int32),
        cpu_capacity_mhz=cores * options.core_speed_mhz,
        mem_capacity=_memory_mib(options, cores, rng) * 1000,
    )
    fragments = Fragments(
        np.repeat(tasks.task_id, count),
        np.full(len(steps), options.interval_ms, np.int64),
        steps * (options.core_speed_mhz / 100),
        np.zeros(len(steps)),
    )
    return Workload(with_fragment_facts(tasks, fragments), fragments)


def _run_time_s(quantile: F64) -> F64:
    return np.exp(np.interp(quantile, _RUN_QUANTILE, np.log(_RUN_TIME_S)))


def _burst_size(options: SyntheticOptions) -> int:
    """Tasks running at the start: as many as the arrivals keep running on average, at most nine tenths of the hosts."""
    mean_s = float(_run_time_s(np.linspace(0.0005, 0.9995, 1000)).mean())
    per_s = options.task_count * (1 - BLINK_SHARE_RATIO) / (options.days * 86_400)
    running = round(per_s * mean_s)
    return max(1, min(running, round(0.9 * options.hosts), options.task_count))


def _residual_run_s(count: int, rng: Generator) -> F64:
    """What is left of tasks found running: long ones are found more often, somewhere in their course."""
    whole = _run_time_s(np.linspace(0.0005, 0.9995, 1000))
    found = rng.choice(whole, size=count, p=whole / whole.sum())
    return np.maximum(1.0, found * rng.random(count))


def _arrivals(options: SyntheticOptions, count: int, rng: Generator) -> tuple[I64, I64]:
    """Seconds since the start and array number of ``count`` tasks, by time."""
    if count <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    sizes = np.where(rng.random(count) < 0.75, 1, np.ceil(2 / (1 - rng.random(count)) ** 0.9)).astype(np.int64)
    sizes = np.minimum(sizes, min(_LARGEST_ARRAY, max(1, options.hosts // 4)))
    arrays = int(np.searchsorted(np.cumsum(sizes), count)) + 1
    array = np.repeat(np.arange(arrays), sizes[:arrays])[:count]
    length_s = round(options.days * 86_400)
    hours = np.arange(-(-length_s // 3600))
    clock = options.start_ms // MS_PER_HOUR + hours
    weekend = (clock // 24 + 3) % 7 >= 5  # the epoch was a Thursday
    weight = _HOUR_WEIGHT[clock % 24] * np.where(weekend, _WEEKEND_RATIO, 1.0) * rng.lognormal(0.0, 0.5, len(hours))
    edges = np.concatenate([[0.0], np.cumsum(weight) / weight.sum()])
    begin = np.interp(rng.random(arrays), edges, np.minimum(np.append(hours, len(hours)) * 3600, length_s))
    first = np.searchsorted(array, np.arange(arrays))
    within = np.arange(count) - first[array]
    seconds = np.minimum(begin[array] + within * 0.7, length_s - 1).astype(np.int64)
    order = np.argsort(seconds, kind="stable")
    return seconds[order], array[order]


def _run_s(array: I64, rng: Generator) -> F64:
    """Run times [s]: alike within an array, and over all tasks exactly the measured quantiles."""
    if len(array) == 0:
        return np.zeros(0)
    drawn = rng.normal(size=int(array.max()) + 1)[array] + 0.15 * rng.normal(size=len(array))
    rank = np.empty(len(array))
    rank[np.argsort(drawn, kind="stable")] = np.arange(len(array))
    return _run_time_s((rank + 0.5) / len(array))


def _fragment_count(options: SyntheticOptions, submission_ms: I64, run_s: F64, blink: NDArray[np.bool_]) -> I64:
    wanted = np.maximum(1, np.round(run_s / options.interval_s)).astype(np.int64)
    room = (options.end_ms - submission_ms) // options.interval_ms
    return np.where(blink, 0, np.minimum(wanted, room)).astype(np.int64)


def _cores(options: SyntheticOptions, count: int, blink: NDArray[np.bool_], rng: Generator) -> I64:
    parts = np.array([1.0, 0.5, 0.25, 1 / options.cores])
    drawn = parts[rng.choice(4, size=count, p=[0.92, 0.04, 0.02, 0.02])]
    small = blink & (rng.random(count) < 0.1)
    return np.maximum(1, np.round(np.where(small, parts[3], drawn) * options.cores)).astype(np.int64)


def _memory_mib(options: SyntheticOptions, cores: I64, rng: Generator) -> I64:
    share = rng.choice([0.1, 0.25, 0.5, 0.75], size=len(cores), p=[0.4, 0.3, 0.2, 0.1])
    return np.maximum(1, np.round(share * MEMORY_MIB * cores / options.cores)).astype(np.int64)


def _usage_ratio(count: I64, group: I64, rng: Generator) -> F64:
    """Utilisation of the reserved cores per fragment [0-1]: level of the task, changes of phase, slow noise."""
    arrays = int(group.max()) + 1
    kind = rng.choice(3, size=arrays, p=[0.50, 0.30, 0.20])
    level = np.choose(
        kind, [rng.uniform(0.93, 1.0, arrays), rng.lognormal(np.log(0.05), 0.8, arrays), rng.uniform(0.25, 0.9, arrays)]
    )
    spread = np.choose(kind, [0.01, 0.02, 0.08])
    phase_spread = np.choose(kind, [0.03, 0.03, 0.15])
    total = int(count.sum())
    task = np.repeat(np.arange(len(count)), count)
    first = np.zeros(total, np.bool_)
    first[(np.cumsum(count) - count)[count > 0]] = True
    phase = np.cumsum(first | (rng.random(total) < 1 / 240)) - 1
    shift = rng.normal(size=int(phase[-1]) + 1)[phase]
    noise = lfilter([np.sqrt(1 - 0.9**2)], [1.0, -0.9], rng.normal(size=total))
    mine = group[task]
    usage = level[mine] + phase_spread[mine] * shift + spread[mine] * noise
    usage[first] *= 0.3  # programs start by reading their input
    return np.clip(usage, 0.0, 1.0)
