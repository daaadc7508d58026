"""The slow, obvious engine: NoDelay workloads by the letter of SEMANTICS 5, everything recomputed at every step.

One cluster type of sharing, any number of clusters and hosts, the prefab policies that rank hosts. No incremental
state: a queue of (time, insertion number) items, a dictionary of running tasks, sums over all of them.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.power.curves import power_w
from opendt.units import mem_capacity_to_mib

WAKE, TICK, CYCLE, SUBMIT = "wake", "tick", "cycle", "submit"


@dataclass
class Running:
    task: int
    host: int
    fragments: list[tuple[int, float]]
    ends: int | None = None  # None until the first WAKE after placement
    usage: float = 0.0


@dataclass
class Result:
    events: list[tuple[int, str, int, int | None]] = field(default_factory=list)  # task id, event, ms, host
    samples: list[tuple[int, float, float]] = field(default_factory=list)  # ms, W, J since the last
    counts: list[tuple[int, ...]] = field(default_factory=list)  # total, pending, active, completed, terminated
    demand: list[list[float]] = field(default_factory=list)
    energy_j: float = 0.0
    carbon_g: float = 0.0
    stuck: bool = False


class Naive:
    """Run with ``Naive(...).run()``; ``edges`` plays no part: a naive run knows no windows."""

    def __init__(self, topology: Topology, workload: Workload, interval_ms: int, policy: str = "Mem",
                 carbon: CarbonTrace | None = None) -> None:  # fmt: skip
        self.types = [h for c in topology.clusters for h in c.hosts for _ in range(h.count)]
        self.policy = policy
        self.interval = interval_ms
        tasks, fragments = workload.tasks, workload.fragments
        rows = [i for i in range(len(tasks)) if tasks.fragment_count[i] > 0]
        rows.sort(key=lambda i: int(tasks.submission_ms[i]))
        self.origin = int(tasks.submission_ms[rows[0]])
        self.tasks = {
            int(tasks.task_id[i]): {
                "submit": int(tasks.submission_ms[i]) - self.origin,
                "cpu": int(tasks.cpu_count[i]),
                "mem": int(mem_capacity_to_mib(tasks.mem_capacity[i])),
                "fragments": [
                    (int(d), float(u))
                    for t, d, u in zip(fragments.task_id, fragments.duration_ms, fragments.cpu_usage_mhz, strict=True)
                    if t == tasks.task_id[i]
                ],
            }
            for i in rows
        }
        self.order = [int(tasks.task_id[i]) for i in rows]
        self.steps = []
        self.intensity = 0.0
        if carbon is not None and len(carbon):
            times = [int(t) - self.origin for t in carbon.timestamp_ms]
            now = max(int(np.searchsorted(times, 0, side="right")) - 1, 0)
            self.intensity = float(carbon.intensity_g_per_kwh[now])
            self.steps = list(zip(times, carbon.intensity_g_per_kwh.tolist(), strict=True))[now + 1 :]
        self.queue: list[tuple[int, int, str]] = []
        self.number = 0
        self.wakes: list[int] = []
        self.waiting: list[int] = []
        self.running: dict[int, Running] = {}
        self.submitted = self.completed = self.terminated = 0
        self.cycle_pending = False
        self.now = self.counted = 0
        self.sample_j = 0.0
        self.end: tuple[int, int] | None = None
        self.in_wake = False
        self.shown: list[float] = [0.0] * len(self.types)  # demands that power follows
        self.result = Result()

    # ---------------------------------------------------------------- the queue

    def push(self, at: int, kind: str) -> None:
        heapq.heappush(self.queue, (at, self.number, kind))
        self.number += 1

    def request_wake(self, at: int) -> None:
        if not self.wakes or at < self.wakes[-1]:
            self.wakes.append(at)
            self.push(at, WAKE)

    def request_cycle(self) -> None:
        if self.waiting and not self.cycle_pending:
            self.cycle_pending = True
            self.push((self.now + 999) // 1000 * 1000, CYCLE)

    def run(self) -> Result:
        self.request_wake(0)
        self.push(self.interval, TICK)
        self.submit()
        while self.queue:
            at, number, kind = heapq.heappop(self.queue)
            if self.end is not None and (at, number) > self.end:
                break
            self.count_to(at)
            self.now = at
            getattr(self, kind)()
            if self.result.stuck:
                break
        return self.result

    # ---------------------------------------------------------------- what can happen

    def submit(self) -> None:
        while self.order and self.tasks[self.order[0]]["submit"] <= self.now:
            task = self.order.pop(0)
            self.submitted += 1
            self.result.events.append((task, "submitted", self.now, None))
            self.waiting.append(task)
            self.request_cycle()
        if self.order:
            self.push(self.tasks[self.order[0]]["submit"], SUBMIT)

    def cycle(self) -> None:
        while self.waiting:
            task = self.waiting[0]
            needs = self.tasks[task]
            host = self.choose(needs)
            if host is not None:
                self.waiting.pop(0)
                self.running[task] = Running(task, host, list(needs["fragments"]))
                self.result.events.append((task, "scheduled", self.now, host))
                self.request_wake(self.now)
            elif needs["cpu"] > max(h.cores for h in self.types) or needs["mem"] > max(
                int(h.memory.memorySize) for h in self.types
            ):
                self.waiting.pop(0)
                self.terminated += 1
                self.result.events.append((task, "terminated", self.now, None))
                self.check_end()
            else:
                break
        self.cycle_pending = False

    def wake(self) -> None:
        self.wakes.pop()
        self.in_wake = True
        while self.steps and self.steps[0][0] <= self.now:
            self.intensity = self.steps.pop(0)[1]
        for task in sorted(t for t, r in self.running.items() if r.ends is not None and r.ends <= self.now):
            self.step(self.running[task])
        for task in [t for t, r in self.running.items() if r.ends is None]:
            self.step(self.running[task])
        self.in_wake = False
        self.shown = self.demands()
        times = [r.ends for r in self.running.values() if r.ends is not None] + [t for t, _ in self.steps[:1]]
        if times:
            self.request_wake(min(times))

    def step(self, run: Running) -> None:
        """The current fragment is over: go on to the next that takes time, or end."""
        uses_cpu = any(u > 0 for _, u in self.tasks[run.task]["fragments"])
        while run.fragments and uses_cpu:
            duration, run.usage = run.fragments.pop(0)
            if duration > 0:
                run.ends = self.now + duration
                return
        del self.running[run.task]
        self.completed += 1
        self.result.events.append((run.task, "completed", self.now, run.host))
        self.request_cycle()
        self.check_end()

    def tick(self) -> None:
        if not self.order and not self.running and self.waiting and not self.cycle_pending:
            self.result.stuck = True
            return
        self.sample()
        self.push(self.now // self.interval * self.interval + self.interval, TICK)

    def check_end(self) -> None:
        if not self.order and not self.running and not self.waiting:
            self.sample()
            self.end = (self.now, self.number)
            self.number += 1

    # ---------------------------------------------------------------- sums

    def demands(self) -> list[float]:
        total = [0.0] * len(self.types)
        for run in self.running.values():
            total[run.host] += run.usage
        return total

    def watts(self) -> float:
        return sum(
            float(power_w(h.cpuPowerModel, min(d / h.capacity_mhz, 1.0)))
            for h, d in zip(self.types, self.shown, strict=True)
        )

    def count_to(self, at: int) -> None:
        joules = self.watts() * (at - self.counted) / 1000
        self.counted = at
        self.sample_j += joules
        self.result.energy_j += joules
        self.result.carbon_g += self.intensity * joules / 3.6e6

    def sample(self) -> None:
        self.result.samples.append((self.now, self.watts(), self.sample_j))
        self.result.counts.append(
            (self.submitted, len(self.waiting), len(self.running), self.completed, self.terminated)
        )
        self.result.demand.append(list(self.shown))
        self.sample_j = 0.0

    # ---------------------------------------------------------------- placement

    def choose(self, needs: dict[str, Any]) -> int | None:
        best: int | None = None
        for host, kind in enumerate(self.types):
            here = [self.tasks[r.task] for r in self.running.values() if r.host == host]
            memory = int(kind.memory.memorySize)
            free = memory - sum(t["mem"] for t in here)
            cores = sum(t["cpu"] for t in here)
            fits = needs["cpu"] <= kind.cores - cores and needs["mem"] <= memory
            if not fits or memory * 1.5 - (memory - free) < needs["mem"]:
                continue
            score = {
                "Mem": free, "MemInv": -free, "CoreMem": free / kind.cores, "CoreMemInv": free / kind.cores,
                "ActiveServers": -len(here), "ActiveServersInv": len(here), "ProvisionedCores": -cores,
                "ProvisionedCoresInv": cores,
            }[self.policy]  # fmt: skip
            if best is None or score > top:  # noqa: F821
                best, top = host, score  # noqa: F841
        return best
