"""A running task as flow nodes: its fragments, its counters, its checkpoints (SEMANTICS 5.3, 6.1, 10.2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from opendt.engine.native import stuck
from opendt.engine.native.exact.flow import FAR, Consumer, Flow, Link, Node, wrapped
from opendt.engine.native.exact.power import rounded
from opendt.engine.native.layout import LONGEST_MS
from opendt.errors import EngineError

if TYPE_CHECKING:
    from opendt.engine.native.exact.service import Host, Service, Task

CPU, GPU = 0, 1
MOST_AHEAD = 2_000  # fragments put before those of the trace; normal is one
Fragment = tuple[int, float, float]  # ms, MHz of processors, MHz of GPUs


def truncated(value: float) -> int:
    """A double as Java's cast to long."""
    if math.isnan(value):
        return 0
    if abs(value) >= 2.0**63:
        return FAR if value > 0 else -FAR - 1
    return int(value)


class Meter:
    """Processor times of a task on one kind of processor [ms], counted with the capacity of the host."""

    __slots__ = ("active_ms", "capacity", "demand", "idle_ms", "inverse", "steal_ms", "supply")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.inverse = 1.0 / capacity
        self.demand = 0.0
        self.supply = 0.0
        self.active_ms = 0
        self.idle_ms = 0
        self.steal_ms = 0

    def count(self, dt: int) -> None:
        """Count ``dt`` more ms; the idle time is that of the last stretch only, as in OpenDC."""
        if dt > 0:
            share = self.inverse * dt
            self.active_ms += rounded(self.supply * share)
            self.idle_ms = rounded((self.capacity - self.supply) * share)
            self.steal_ms += rounded((self.demand - self.supply) * share)


class Execution(Node, Consumer):
    """One placement of a task: works off fragments until none is left, then calls the service.

    Remaining work is in ms under NoDelay and in MHz ms under Perfect, per kind of processor.
    """

    __slots__ = (
        "ahead", "at", "checkpoint", "counted_ms", "current", "demand", "done", "host", "kinds", "links", "meters",
        "next", "passed_on", "perfect", "service", "start_ms", "supplied", "task", "work", "work_total",
    )  # fmt: skip

    def __init__(self, flow: Flow, task: Task, host: Host, service: Service, *, perfect: bool) -> None:
        self.task = task
        self.host = host
        self.perfect = perfect
        self.service = service
        self.passed_on = 0.0
        self.at = task.saved_at  # next fragment of the trace
        self.ahead: list[Fragment] = list(task.saved_ahead)  # fragments before it
        self.current: Fragment | None = None
        self.start_ms = flow.now
        self.counted_ms = flow.now
        self.kinds = [k for k, used in ((CPU, task.uses_cpu), (GPU, task.uses_gpu)) if used]
        self.work = [0.0, 0.0]
        self.work_total = 0.0
        self.done = [False, False]
        self.demand = [0.0, 0.0]
        self.supplied = [0.0, 0.0]
        self.next = [0.0, 0.0]
        self.meters: dict[int, Meter] = {CPU: Meter(host.cpu.capacity)}
        self.links: dict[int, Link] = {CPU: host.cpu_distributor.join(self)}
        if host.gpu_distributor is not None:
            self.meters[GPU] = Meter(host.gpus[0].capacity)
            self.links[GPU] = host.gpu_distributor.join(self)
            self.links[GPU].port = GPU
        self.checkpoint: Checkpoint | None = None
        if task.checkpoint is not None:
            self.checkpoint = Checkpoint(flow, self, *task.checkpoint)
        super().__init__(flow)

    def count(self, now: int) -> None:
        """Count processor times up to ``now``."""
        dt, self.counted_ms = now - self.counted_ms, now
        for meter in self.meters.values():
            meter.count(dt)

    def change_capacity(self, capacity: float, now: int) -> None:
        """Count with another capacity of the host from now on."""
        self.count(now)
        self.meters[CPU].capacity, self.meters[CPU].inverse = capacity, 1.0 / capacity

    def _finished(self, kind: int, dt: int) -> float:
        return self.supplied[kind] * dt if self.perfect else float(dt)

    def _time_left(self, kind: int) -> int:
        if not self.perfect:
            return truncated(self.work[kind])
        if self.supplied[kind] == 0.0:
            work = self.work[kind]
            return 0 if work == 0.0 or math.isnan(work) else truncated(math.copysign(math.inf, work))
        return truncated(self.work[kind] / self.supplied[kind])

    def starves(self) -> bool:
        """Whether nothing of what is left will be done with the present supply."""
        left = [kind for kind in self.kinds if not self.done[kind]]
        return self.perfect and bool(left) and all(self.supplied[k] <= 0 and self.next[k] <= 0 for k in left)

    def on_update(self, now: int) -> int:
        dt, self.start_ms = now - self.start_ms, now
        for kind in self.kinds:
            finished = self._finished(kind, dt)
            self.work[kind] -= finished
            self.work_total -= finished
            if self.work[kind] <= 0:
                self.done[kind] = True
        if self.work_total <= 0 and all(self.done[kind] for kind in self.kinds):
            self._start_next()
            self.invalidate()
            return FAR
        self.supplied = list(self.next)
        earliest = -1
        for kind in self.kinds:
            left = self._time_left(kind)
            if left == 0:
                self.work_total -= self.work[kind]
                self.work[kind] = 0.0
                self.done[kind] = True
            elif left > 0 and (earliest < 0 or left < earliest):
                earliest = left
        return now if earliest < 0 else wrapped(now + earliest)

    def _start_next(self) -> None:
        fragment = self._next_fragment()
        if fragment is None:
            self.stop()
            self.service.completed(self.task)
            return
        self.current = fragment
        self.work_total = 0.0
        for kind in self.kinds:
            demand = fragment[1 + kind]
            self.work[kind] = demand * fragment[0] if self.perfect else float(fragment[0])
            self.work_total += self.work[kind]
            self.done[kind] = False
            self._ask(kind, demand)

    def _next_fragment(self) -> Fragment | None:
        if self.ahead:
            return self.ahead.pop(0)
        if self.at >= self.task.fragment_count:
            return None
        fragment = self.task.fragment(self.at) if self.kinds else (0, 0.0, 0.0)
        if fragment is None:
            raise EngineError(
                f"task {self.task.name} needs fragment {self.at + 1} of {self.task.fragment_count}, but it has not "
                "arrived. Send fragments no later than they begin, or state a smaller fragment_count.",
                engine="native", reason="missing fragment", task=self.task.name, fragment=self.at,
            )  # fmt: skip
        self.at += 1
        return fragment

    def _ask(self, kind: int, demand: float) -> None:
        if demand != self.demand[kind]:
            self.demand[kind] = demand
            self.count(self.flow.now)
            if kind in self.links:
                self.meters[kind].demand = demand
                self.links[kind].ask(demand)

    def on_supply(self, link: Link, supply: float) -> None:
        kind = link.port
        self.count(self.flow.now)
        self.meters[kind].supply = supply
        if supply == self.passed_on:
            return
        self.passed_on = supply  # of either kind: OpenDC passes both over one link
        if supply != self.supplied[kind]:
            self.supplied[kind] = self.next[kind]
            self.next[kind] = supply
            self.invalidate()

    def stop(self) -> None:
        """Leave the host, finished or not."""
        if self.checkpoint is not None:
            self.checkpoint.close()
        self.close()
        for kind, link in self.links.items():
            (self.host.cpu_distributor if kind == CPU else self.host.gpu_distributor).leave(link)  # type: ignore[union-attr]

    def snapshot(self, now: int) -> None:
        """Save the state of the work; saving itself takes a fragment of the checkpoint's duration."""
        dt = now - self.start_ms
        left = 0
        for kind in self.kinds:
            finished = self._finished(kind, dt)
            self.work[kind] -= finished
            self.work_total -= finished
            left = max(left, self._time_left(kind))
        more = bool(self.ahead) or self.at < self.task.fragment_count
        if self.current is None or (left <= 0 and not more):
            return
        if left > LONGEST_MS or len(self.ahead) > MOST_AHEAD:
            raise stuck.never_ends(stuck.saves_for_ever(self.task.name, self.host.name), self.task.name)
        rest: Fragment = (left, self.current[1], self.current[2])
        self.task.saved_at = self.at
        self.task.saved_ahead = [rest, *self.ahead]
        self.ahead = [(self.task.checkpoint_ms, *self.task.peak_usage()), rest, *self.ahead]
        self._start_next()
        self.start_ms = now
        self.invalidate()


class Checkpoint(Node):
    """Takes a snapshot of an execution at intervals [ms]."""

    __slots__ = ("duration_ms", "execution", "interval_ms", "scaling", "since_ms")

    def __init__(self, flow: Flow, execution: Execution, interval_ms: int, duration_ms: int, scaling: float) -> None:
        self.execution = execution
        self.interval_ms = interval_ms
        self.duration_ms = duration_ms
        self.scaling = scaling
        self.since_ms = flow.now
        super().__init__(flow)

    def on_update(self, now: int) -> int:
        left = self.interval_ms - (now - self.since_ms)
        if left > 0:
            return now + left
        self.execution.snapshot(now)
        self.since_ms = now
        self.interval_ms = int(self.interval_ms * self.scaling)
        return now + self.interval_ms + self.duration_ms
