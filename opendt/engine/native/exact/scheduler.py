"""OpenDC's schedulers, looking at every host for every task as they do (SEMANTICS 7)."""

from __future__ import annotations

import math
from typing import Any

from opendt.engine.native.exact.random import JavaRandom, SplittableRandom
from opendt.engine.native.exact.service import UP, Host, Task
from opendt.engine.native.policies import (
    BY_LISTS,
    BY_RANDOM,
    BY_SCORE,
    FILTER_CAPACITY,
    FILTER_CORES,
    FILTER_GPU,
    FILTER_INSTANCES,
    FILTER_MEMORY,
    FREE_MEMORY,
    FREE_MEMORY_PER_CORE,
    RESERVED_CORES,
    RESERVED_GPU_CORES,
    TASKS,
    WEIGH_CORES,
    Policy,
    read_policy,
)

TINIEST = 5e-324  # Java's Double.MIN_VALUE, where OpenDC starts its search for a maximum
Choice = tuple[bool, Any, Any]  # whether any task was looked at, the task, its host or None
NOBODY: Choice = (False, None, None)


def passes(filters: Any, host: Host, task: Task) -> bool:
    """Whether a host passes every filter for a task."""
    return host.state == UP and all(_passes(int(kind), value, host, task) for kind, value in filters)


def _passes(kind: int, value: float, host: Host, task: Task) -> bool:
    if kind == FILTER_CORES:
        return task.cpu_count <= host.cores and host.cores * value - host.reserved >= task.cpu_count
    if kind == FILTER_MEMORY:
        used = host.memory_mib - host.free_mib
        return task.mem_mib <= host.memory_mib and host.memory_mib * value - used >= task.mem_mib
    if kind == FILTER_CAPACITY:
        wanted = task.cpu_capacity_mhz
        return wanted <= 0 or host.capacity_mhz / host.cores >= wanted / max(task.cpu_count, 1)
    if kind == FILTER_INSTANCES:
        return host.instances < value
    if kind == FILTER_GPU:
        return task.gpu_count <= host.gpu_cores and host.gpu_cores * value - host.reserved_gpu >= task.gpu_count
    raise AssertionError(kind)


def _weight(kind: int, factor: float, host: Host, task: Task) -> float:
    if kind == FREE_MEMORY:
        return float(host.free_mib)
    if kind == FREE_MEMORY_PER_CORE:
        return factor * host.free_mib / host.cores
    if kind == TASKS:
        return float(host.instances)
    if kind == WEIGH_CORES:
        return factor - host.reserved
    if kind == RESERVED_CORES:
        return 1.0 - host.reserved
    if kind == RESERVED_GPU_CORES:
        return 1.0 - host.reserved_gpu
    return host.capacity_mhz - task.cpu_capacity_mhz / max(task.cpu_count, 1)


def weigh(weighers: list[tuple[int, float]], hosts: list[Host], task: Task) -> list[Host]:
    """Hosts by falling score, stable; a score that is not a number stands above all others."""
    scores = [0.0] * len(hosts)
    for kind, factor in weighers:
        raw = [_weight(kind, factor, host, task) for host in hosts]
        low, high = min(raw, default=0.0), max([TINIEST, *raw])
        if high - low == 0.0:
            continue
        multiplier = 1.0 if kind == WEIGH_CORES else factor
        scale = math.copysign(math.inf, multiplier) if abs(high - low) < 1e-300 else multiplier / (high - low)
        for i, x in enumerate(raw):
            scores[i] += scale * (x - low)
    order = sorted(range(len(hosts)), key=lambda i: math.inf if math.isnan(scores[i]) else scores[i], reverse=True)
    return [hosts[i] for i in order]


class FilterScheduler:
    """Filters, weighers, and a draw from the best; also every prefab policy that ranks hosts by one number."""

    __slots__ = ("filters", "hosts", "random", "subset", "weighers")

    def __init__(self, hosts: list[Host], policy: Policy, random: JavaRandom | SplittableRandom) -> None:
        self.hosts = hosts
        self.filters = [(int(kind), float(value)) for kind, value in policy.filters]
        self.weighers = [(int(kind), float(value)) for kind, value in policy.weighers]
        if policy.way == BY_SCORE:
            # OpenDC weighs 1 - reserved cores, our score is the reserved cores.
            self.weighers = [(policy.score, -policy.sign if policy.score == RESERVED_CORES else policy.sign)]
        self.subset = policy.subset if policy.way != BY_RANDOM else 2**31 - 1
        self.random = random

    def select(self, waiting: list[Task]) -> Choice:
        """The first waiting task and its host."""
        return self.host_for(waiting[0])

    def host_for(self, task: Task) -> Choice:
        """A host for a task, None when none passes."""
        hosts = [host for host in self.hosts if passes(self.filters, host, task)]
        if self.weighers and hosts:
            hosts = weigh(self.weighers, hosts, task)[: self.subset]
        count = min(self.subset, len(hosts))
        return True, task, hosts[self.random.below(count)] if count else None

    def task_left(self, host: Host) -> None:
        """A task ended on a host."""


class MemorizingScheduler:
    """Lists of hosts by number of tasks (SEMANTICS 7.6)."""

    __slots__ = ("filters", "lists", "lowest")

    LISTS, MOST_SKIPS, MOST_TRIES = 100, 7, 10_000

    def __init__(self, hosts: list[Host], policy: Policy) -> None:
        self.filters = [(int(kind), float(value)) for kind, value in policy.filters]
        self.lists: list[list[Host]] = [[] for _ in range(self.LISTS)]
        self.lowest = 0
        self.set_hosts(hosts)

    def set_hosts(self, hosts: list[Host]) -> None:
        """File every host under its number of tasks, in order."""
        self.lists = [[] for _ in range(self.LISTS)]
        for host in hosts:
            host.list_number, host.list_index = host.instances, len(self.lists[host.instances])
            self.lists[host.instances].append(host)
        self.lowest = min((host.instances for host in hosts), default=0)

    def select(self, waiting: list[Task]) -> Choice:
        """The first waiting task that fits somewhere, or that has been passed over too often."""
        if not any(self.lists):
            return True, waiting[0], None
        for task in waiting[: self.MOST_TRIES]:
            for number in range(self.lowest, self.LISTS):
                for host in self.lists[number]:
                    if passes(self.filters, host, task):
                        self._move(host, number, number + 1, placing=True)
                        return True, task, host
                    if task.skipped >= self.MOST_SKIPS:
                        return True, task, None
            task.skipped += 1
        return NOBODY

    def _move(self, host: Host, number: int, to: int, *, placing: bool) -> None:
        old = self.lists[number]
        if len(old) == 1:
            old.pop()
            if placing:
                self.lowest += 1
        else:
            last = old[-1]
            old[host.list_index] = last
            last.list_index = host.list_index
            old.pop()
        host.list_number, host.list_index = to, len(self.lists[to])
        self.lists[to].append(host)

    def task_left(self, host: Host) -> None:
        """A task ended on a host: it moves one list down."""
        number = host.list_number
        self._move(host, number, number - 1, placing=False)
        if number == self.lowest:
            self.lowest -= 1


class TimeshiftScheduler(FilterScheduler):
    """Lets deferrable tasks wait for a time of low carbon intensity while their deadline allows (SEMANTICS 10.4)."""

    __slots__ = ("carbon", "flow", "forecast", "long_low", "long_share", "past", "short_low",
                 "short_share", "size", "window")  # fmt: skip

    SHORT_H = 2

    def __init__(self, hosts: list[Host], policy: Policy, random: Any, options: dict[str, Any], flow: Any) -> None:
        super().__init__(hosts, policy, random)
        self.flow = flow
        self.forecast = bool(options.get("forecast", True))
        self.short_share = float(options.get("shortForecastThreshold", 0.2))
        self.long_share = float(options.get("longForecastThreshold", 0.35))
        self.size = int(options.get("forecastSize", 24))
        self.window = int(options.get("windowSize", 168))
        self.past: list[float] = []
        self.short_low = self.long_low = False
        self.carbon: Any = None

    def on_carbon(self, intensity: float) -> None:
        """Decide whether now is a time of low carbon, for short and for long tasks."""
        if self.forecast:
            ahead = sorted(self.carbon.forecast(self.size))
            self.short_low = intensity < quantile(ahead, self.short_share)
            self.long_low = intensity < quantile(ahead, self.long_share)
            return
        before = self.past[-1] if self.past else 0.0
        self.past = [*self.past, intensity][-self.window :]
        mean = sum(self.past) / len(self.past)
        self.short_low = before < intensity < mean
        self.long_low = intensity < mean

    def waits(self, task: Task) -> bool:
        """Whether a task should wait for better times."""
        if not task.deferrable:
            return False
        low = self.short_low if task.duration_ms < self.SHORT_H * 3_600_000 else self.long_low
        return not low and self.flow.now + task.duration_ms < task.deadline_ms

    def select(self, waiting: list[Task]) -> Choice:
        for task in waiting:
            if not self.waits(task):
                return self.host_for(task)
        return NOBODY


class MemorizingTimeshift(MemorizingScheduler):
    """Timeshift over the lists of ``MemorizingScheduler``."""

    __slots__ = ("shift",)

    def __init__(self, hosts: list[Host], policy: Policy, shift: TimeshiftScheduler) -> None:
        super().__init__(hosts, policy)
        self.shift = shift

    def select(self, waiting: list[Task]) -> Choice:
        ready = [task for task in waiting if not self.shift.waits(task)]
        return super().select(ready) if ready else NOBODY


def quantile(ordered: list[float], share: float) -> float:
    """The value at a share of an ordered list, as OpenDC rounds the position."""
    return ordered[min(math.floor(len(ordered) * share + 0.5), len(ordered) - 1)]


def new_scheduler(hosts: list[Host], allocation: dict[str, Any], seed: int, flow: Any) -> Any:
    """The scheduler of an allocation policy object; raises ``ConfigError`` for an unknown one."""
    policy = read_policy(allocation)
    java = JavaRandom(SplittableRandom(seed).long())
    if policy.way == BY_LISTS:
        return MemorizingScheduler(hosts, policy)
    if allocation.get("type") == "timeshift" or allocation.get("policyName") == "Timeshift":
        random: Any = SplittableRandom(java.long()) if allocation.get("type") != "timeshift" else SplittableRandom(0)
        shift = TimeshiftScheduler(hosts, policy, random, allocation, flow)
        if allocation.get("type") == "timeshift" and allocation.get("memorize", True):
            return MemorizingTimeshift(hosts, policy, shift)
        return shift
    if policy.way == BY_RANDOM:
        return FilterScheduler(hosts, policy, SplittableRandom(java.long()))
    return FilterScheduler(hosts, policy, java)
