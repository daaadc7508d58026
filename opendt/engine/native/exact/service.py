"""Hosts, tasks and the service between them: queue, placement, end of tasks (SEMANTICS 5.5, 7.1)."""

from __future__ import annotations

from typing import Any

from opendt.engine.native.exact.distributor import BestEffort, Distributor, EqualShare, FirstFit, FixedShare
from opendt.engine.native.exact.flow import CYCLE, Agenda, Flow
from opendt.engine.native.exact.power import Processor, Psu
from opendt.engine.native.exact.workload import Execution, Fragment
from opendt.models.topology import DEFAULT_POWER_MODEL, DistributionPolicy, HostType

UP, DOWN, DRAINING = "UP", "ERROR", "DRAINING"
QUANTUM_MS = 1000
Event = tuple[int, str, str, int, str | None, int]  # task id, name, event, time, host, cluster


def new_distributor(flow: Flow, policy: DistributionPolicy) -> Distributor:
    """A host's distributor for a distribution policy."""
    if policy.type == "EQUAL_SHARE":
        return EqualShare(flow)
    if policy.type == "FIRST_FIT":
        return FirstFit(flow)
    if policy.type == "FIXED_SHARE":
        return FixedShare(flow, policy.shareRatio or 1.0)
    if policy.type == "BEST_EFFORT":
        return BestEffort(flow, policy.updateIntervalLength or 1000)
    return Distributor(flow)


class Host:
    """A host: its nodes, what the scheduler believes about it, what rows report."""

    __slots__ = (
        "boot_ms", "capacity_mhz", "cluster", "cores", "cpu", "cpu_distributor", "down_ms", "free_mib",
        "gpu_cores", "gpu_distributor", "gpus", "group", "instances", "list_index", "list_number", "memory_mib", "name",
        "psu", "reported_ms", "reserved", "reserved_gpu", "running", "seen", "state", "up_ms",
    )  # fmt: skip

    def __init__(self, flow: Flow, name: str, cluster: int, group: int, model: HostType, grid: Distributor) -> None:
        self.name = name
        self.group = group
        self.cluster = cluster
        self.cores = model.cores
        self.capacity_mhz = model.capacity_mhz
        self.memory_mib = int(model.memory.memorySize)
        self.psu = Psu(flow, grid)
        self.cpu = Processor(flow, self.psu, model.capacity_mhz, model.cpuPowerModel)
        self.cpu_distributor = new_distributor(flow, model.cpuDistributionPolicy)
        self.cpu.feed(self.cpu_distributor, 0)
        self.gpus: list[Processor] = []
        self.gpu_distributor: Distributor | None = None
        self.gpu_cores = 0
        if model.gpu is not None:
            self._add_gpus(flow, model)
        self.free_mib = self.memory_mib
        self.reserved = 0
        self.reserved_gpu = 0
        self.instances = 0
        self.list_number = 0  # position in the lists of policy TaskNumMemorizing
        self.list_index = 0
        self.state = UP
        self.running: list[Task] = []
        self.boot_ms = flow.now
        self.reported_ms = flow.now
        self.up_ms = 0
        self.down_ms = 0
        self.seen: dict[str, Any] = {}

    def _add_gpus(self, flow: Flow, model: HostType) -> None:
        gpu = model.gpu
        assert gpu is not None
        self.gpu_cores = gpu.coreCount
        self.gpu_distributor = new_distributor(flow, model.gpuDistributionPolicy)
        overhead = gpu.virtualizationOverHeadModel
        for port in range(gpu.count):
            curve = model.gpuPowerModel or DEFAULT_POWER_MODEL
            processor = Processor(flow, self.psu, gpu.coreCount * gpu.coreSpeed, curve)
            processor.overhead = (overhead.type, overhead.percentageOverhead)
            processor.feed(self.gpu_distributor, port)
            self.gpus.append(processor)

    def count_uptime(self, now: int) -> None:
        """Count time up or down, also of the tasks here."""
        dt, self.reported_ms = now - self.reported_ms, now
        if self.state == DOWN:
            self.down_ms += dt
        else:
            self.up_ms += dt
        for task in self.running:
            task.count_uptime(now)


class Task:
    """A task from submission to its last row."""

    __slots__ = (
        "blockers", "checkpoint", "checkpoint_ms", "counted_ms", "cpu_capacity_mhz", "cpu_count", "deadline_ms",
        "deferrable", "down_ms", "duration_ms", "durations", "execution", "failures", "finish_ms", "forgotten",
        "fragment_count", "gpu_capacity_mhz", "gpu_count", "gpu_usages", "host", "host_name", "id", "mem_mib", "name",
        "pauses", "saved_ahead", "saved_at", "schedule_ms", "seen", "skipped", "state", "submit_ms", "up_ms", "usages",
        "uses_cpu", "uses_gpu",
    )  # fmt: skip

    id: int
    name: str
    submit_ms: int
    cpu_count: int
    mem_mib: int
    cpu_capacity_mhz: float
    fragment_count: int
    uses_cpu: bool
    uses_gpu: bool
    gpu_count: int
    gpu_capacity_mhz: float
    duration_ms: int
    deadline_ms: int
    deferrable: bool

    def __init__(self, **known: Any) -> None:
        self.forgotten = 0  # fragments before the first one kept
        self.durations: list[int] = []
        self.usages: list[float] = []
        self.gpu_usages: list[float] = []
        self.blockers: set[int] = set()
        self.checkpoint: tuple[int, int, float] | None = None
        self.checkpoint_ms = 0
        self.state = "CREATED"
        self.host: Host | None = None
        self.host_name = ""
        self.execution: Execution | None = None
        self.schedule_ms = -1
        self.finish_ms = -1
        self.failures = 0
        self.pauses = 0
        self.skipped = 0
        self.saved_at = 0
        self.saved_ahead: list[Fragment] = []
        self.up_ms = 0
        self.down_ms = 0
        self.counted_ms = 0
        self.seen: dict[str, Any] = {}
        for name, value in known.items():
            setattr(self, name, value)

    def fragment(self, at: int) -> Fragment | None:
        """Fragment number ``at`` of the trace, None when it has not arrived."""
        at -= self.forgotten
        if at >= len(self.durations):
            return None
        return self.durations[at], self.usages[at], self.gpu_usages[at]

    def forget_past(self) -> None:
        """Drop fragments that have begun; the task can never be restarted after this."""
        if self.execution is not None:
            past = self.execution.at - self.forgotten
            self.forgotten += past
            del self.durations[:past], self.usages[:past], self.gpu_usages[:past]

    def peak_usage(self) -> tuple[float, float]:
        """Largest usages of processors and GPUs [MHz]."""
        return max(self.usages, default=0.0), max(self.gpu_usages, default=0.0)

    def count_uptime(self, now: int) -> None:
        """Count the time of the present placement."""
        dt, self.counted_ms = now - self.counted_ms, now
        if self.state == "RUNNING":
            self.up_ms += dt


class Service:
    """The queue of waiting tasks and the counters of the service table.

    ``events`` collects what happened to tasks: id, event, time, host name, cluster.
    """

    __slots__ = (
        "active",
        "agenda",
        "blocked",
        "children",
        "completed_tasks",
        "cycle_pending",
        "events",
        "flow",
        "gone",
        "hosts",
        "known",
        "max_failures",
        "most_cores",
        "most_memory",
        "observer",
        "open_end",
        "perfect",
        "scheduler",
        "started",
        "submitted",
        "tasks",
        "terminated_tasks",
        "waiting",
    )  # fmt: skip

    def __init__(self, flow: Flow, agenda: Agenda, hosts: list[Host], scheduler: Any, **known: Any) -> None:
        self.flow = flow
        self.agenda = agenda
        self.hosts = hosts
        self.scheduler = scheduler
        self.perfect: bool = known["perfect"]
        self.max_failures: int = known["max_failures"]
        self.most_cores = max((h.cores for h in hosts), default=0)
        self.most_memory = max((h.memory_mib for h in hosts), default=0)
        self.tasks: dict[int, Task] = {}  # submitted, not yet removed
        self.waiting: list[Task] = []
        self.blocked: list[Task] = []
        self.children: dict[int, list[Task]] = {}  # tasks that wait for a task, submitted or not
        self.cycle_pending = False
        self.submitted = 0
        self.active = 0
        self.completed_tasks = 0
        self.terminated_tasks = 0
        self.known = 0  # tasks that will ever be submitted, as far as known
        self.open_end = True  # more tasks may come
        self.observer: Any = None  # told when the last task known has ended
        self.gone: list[int] = []  # tasks that ended since the last sample
        self.started = 0
        self.events: list[Event] = []

    def _note(self, task: Task, event: str) -> None:
        host = task.host.name if task.host is not None else None
        cluster = task.host.cluster if task.host is not None else -1
        self.events.append((task.id, task.name, event, self.flow.now, host, cluster))

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        taken, self.events = self.events, []
        return taken

    def counts(self) -> tuple[int, int, int]:
        """Placements, completed and terminated tasks so far."""
        return self.started, self.completed_tasks, self.terminated_tasks

    def request_cycle(self) -> None:
        """Ask for a cycle at the next multiple of the quantum, unless one is pending or nothing waits."""
        if self.waiting and not self.cycle_pending:
            self.cycle_pending = True
            self.agenda.add(-(-self.flow.now // QUANTUM_MS) * QUANTUM_MS, CYCLE)

    def submit(self, task: Task) -> None:
        """A task arrives."""
        self.tasks[task.id] = task
        self.submitted += 1
        self._note(task, "submitted")
        self._enqueue(task, front=False)

    def _enqueue(self, task: Task, *, front: bool) -> None:
        task.state = "PROVISIONING"
        if task.failures >= self.max_failures:
            self._terminate(task)
            return
        if task.blockers:
            self.blocked.append(task)
            return
        task.skipped = 0
        if front:
            self.waiting.insert(0, task)
        else:
            self.waiting.append(task)
        self.request_cycle()

    def cycle(self) -> None:
        """Place waiting tasks until one must wait (SEMANTICS 7.1)."""
        while self.waiting:
            found, task, host = self.scheduler.select(self.waiting)
            if not found:
                break
            if host is not None and task.cpu_count <= host.cores and task.mem_mib <= host.memory_mib:
                self.waiting.remove(task)
                self._place(task, host)
            elif host is not None or task.mem_mib > self.most_memory or task.cpu_count > self.most_cores:
                if host is not None:
                    self.scheduler.task_left(host)
                self.waiting.remove(task)
                self._terminate(task)
            else:
                break
        self.cycle_pending = False

    def _place(self, task: Task, host: Host) -> None:
        now = self.flow.now
        task.host = host
        task.host_name = host.name
        task.schedule_ms = now
        task.state = "RUNNING"
        task.up_ms = task.down_ms = 0
        task.counted_ms = now
        host.running.append(task)
        task.execution = Execution(self.flow, task, host, self, perfect=self.perfect)
        self.active += 1
        self.started += 1
        host.instances += 1
        host.reserved += task.cpu_count
        host.free_mib -= task.mem_mib
        self._note(task, "scheduled")

    def completed(self, task: Task) -> None:
        """A task's last fragment has ended."""
        self._leave(task, "COMPLETED", "completed")
        self.completed_tasks += 1
        task.finish_ms = self.flow.now
        for other in self.children.pop(task.id, ()):
            other.blockers.discard(task.id)
        for other in [t for t in self.blocked if not t.blockers]:
            self.blocked.remove(other)
            self.waiting.append(other)
        self._remove(task)
        self.request_cycle()

    def _leave(self, task: Task, state: str, event: str) -> None:
        host = task.host
        assert host is not None
        self._note(task, event)
        task.state = state
        task.execution = None
        task.host = None
        host.running.remove(task)
        host.instances -= 1
        host.reserved -= task.cpu_count
        host.free_mib += task.mem_mib
        self.active -= 1
        self.scheduler.task_left(host)

    def _terminate(self, task: Task) -> None:
        task.state = "TERMINATED"
        task.finish_ms = self.flow.now
        self.terminated_tasks += 1
        self._note(task, "terminated")
        self._remove(task)

    def _remove(self, task: Task) -> None:
        self.gone.append(task.id)
        if not self.open_end and self.completed_tasks + self.terminated_tasks == self.known:
            self.observer.finish()

    def evict(self, host: Host, state: str) -> None:
        """Take all tasks off a host (state FAILED or PAUSED); they go to the front of the queue."""
        tasks = list(host.running)
        for task in tasks:
            assert task.execution is not None
            task.execution.stop()
            task.count_uptime(self.flow.now)
            self._leave(task, state, "failed" if state == "FAILED" else "paused")
            if state == "FAILED":
                task.failures += 1
                task.finish_ms = self.flow.now
            else:
                task.pauses += 1
            self.request_cycle()
        for task in tasks:
            self._enqueue(task, front=True)

    def fail(self, host: Host) -> None:
        """A host goes down; its tasks fail."""
        host.count_uptime(self.flow.now)
        host.state = DOWN
        self.request_cycle()
        self.evict(host, "FAILED")

    def recover(self, host: Host) -> None:
        """A host comes back."""
        host.count_uptime(self.flow.now)
        host.boot_ms = self.flow.now
        host.state = UP
        self.request_cycle()
