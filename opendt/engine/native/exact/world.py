"""The whole simulation step by step: builds nodes from models, runs the agenda, writes rows at samples."""

from __future__ import annotations

from typing import Any

from opendt.engine.base import EngineOptions
from opendt.engine.native import stuck
from opendt.engine.native.exact.battery import Aggregator, Battery, Policy
from opendt.engine.native.exact.distributor import Distributor
from opendt.engine.native.exact.failures import new_failures
from opendt.engine.native.exact.flow import CYCLE, FAULT, PAUSE, SUBMIT, TICK, WAKE, Agenda, Flow, Link
from opendt.engine.native.exact.power import CarbonModel, Source
from opendt.engine.native.exact.rows import Recorder
from opendt.engine.native.exact.scheduler import (
    MemorizingScheduler,
    MemorizingTimeshift,
    TimeshiftScheduler,
    new_scheduler,
)
from opendt.engine.native.exact.service import DOWN, Host, Service, Task
from opendt.engine.native.exact.stopper import Stopper
from opendt.engine.native.exact.workload import CPU
from opendt.engine.native.layout import Site
from opendt.errors import EngineError
from opendt.models.topology import Cluster, Topology

STARVED_SAMPLES = 10_000  # samples in a row in which no running task is granted anything
Steps = tuple[list[int], list[float]]  # times and values of a carbon trace


class World:
    """Everything that changes while simulating. Times are ms since the first submission."""

    __slots__ = (
        "agenda", "batteries", "carbon", "close_number", "closed_at", "failures", "flow", "grids", "hosts",
        "interval_ms", "pending", "recorder", "service", "sources", "started", "stopper", "submit_number", "tick",
    )  # fmt: skip

    def __init__(
        self,
        topology: Topology,
        site: Site,
        options: EngineOptions,
        carbon: tuple[list[int], list[float]],
        origin_ms: int,
    ) -> None:
        self.agenda = Agenda()
        self.flow = Flow(self.agenda)
        self.hosts: list[Host] = []
        self.grids: list[Distributor] = []
        self.sources: list[Source] = []
        self.batteries: list[Battery | None] = []
        self.carbon: CarbonModel | None = None
        named = [c for c, cluster in enumerate(topology.clusters) if cluster.powerSource.carbonTracePath]
        for c, cluster in enumerate(topology.clusters):
            own = c in named if named else len(topology.clusters) == 1
            self._build(c, cluster, site, carbon if own else ([], []), origin_ms)
        scheduler = new_scheduler(self.hosts, options.allocation, options.seed, self.flow)
        self.service = Service(
            self.flow, self.agenda, self.hosts, scheduler,
            perfect=options.scaling == "Perfect", max_failures=options.max_failures,
        )  # fmt: skip
        self.service.observer = self
        self.stopper: Stopper | None = None
        self._connect_carbon(options)
        self.failures = new_failures(options.failures, options.seed)
        self.recorder = Recorder(options)
        self.interval_ms = options.sample_interval_ms
        self.pending: list[Task] = []  # not yet submitted, latest first
        self.submit_number = -1
        self.tick = 1
        self.started = False
        self.closed_at = -1
        self.close_number = -1

    def _build(self, c: int, cluster: Cluster, site: Site, carbon: Steps, origin_ms: int) -> None:
        flow = self.flow
        source = Source(flow)
        self.sources.append(source)
        grid = Distributor(flow)
        self.grids.append(grid)
        if carbon[0]:
            self.carbon = CarbonModel(flow, carbon[0], carbon[1], origin_ms)
            self.carbon.tell(source)
        if cluster.battery is None:
            self.batteries.append(None)
            _feed(source, grid, source)
        else:
            self.batteries.append(self._add_battery(cluster, source, grid))
        for t, model in enumerate(cluster.hosts):
            group = site.groups.index((c, t))
            for _ in range(model.count):
                self.hosts.append(Host(flow, site.host_names[len(self.hosts)], c, group, model, grid))

    def _add_battery(self, cluster: Cluster, source: Source, grid: Distributor) -> Battery:
        assert cluster.battery is not None
        upper = Distributor(self.flow)
        _feed(source, upper, source)
        battery = Battery(self.flow, cluster.battery, upper)
        aggregator = Aggregator(self.flow, battery, upper)
        policy = Policy(self.flow, cluster.battery.batteryPolicy, battery, aggregator)
        if self.carbon is not None and self.sources[-1] in self.carbon.receivers:
            self.carbon.tell(policy)
        _feed(aggregator, grid, aggregator)
        return battery

    def _connect_carbon(self, options: EngineOptions) -> None:
        scheduler = self.service.scheduler
        shift = scheduler.shift if isinstance(scheduler, MemorizingTimeshift) else scheduler
        if self.carbon is None or not isinstance(shift, TimeshiftScheduler):
            return
        shift.carbon = self.carbon
        self.carbon.tell(shift)
        self.carbon.tell(CycleOnCarbon(self.service))
        stopper = options.allocation.get("taskStopper")
        if stopper is not None:
            self.stopper = Stopper(self.service, self.carbon, self.agenda, stopper)
            self.carbon.tell(self.stopper)

    def add_tasks(self, tasks: list[Task]) -> None:
        """Tasks that will be submitted, in order of submission."""
        self.pending = [*reversed(tasks), *self.pending]
        self.service.known = self.service.submitted + len(self.pending)

    def begin(self) -> None:
        """Insert what the agenda holds at the start; WAKE(0) is there since the nodes were made."""
        self.started = True
        self.agenda.add(self.interval_ms, TICK)
        if self.failures is not None and self.failures.interval_ms() is not None:
            self.agenda.add(self.failures.interval_ms() or 0, FAULT)
        self._submit()

    def run(self, until: int | None) -> None:
        """Process everything before ``until``; None for the end of the run."""
        if not self.started:
            self.begin()
        elif self.pending and self.submit_number >= 0:
            self._plan_submission()
        starved = 0  # samples in a row in which running tasks got nothing
        while self.agenda.items:
            at, number, kind = self.agenda.items[0]
            if until is not None and at >= until:
                return
            if self.closed_at >= 0 and (at, number) > (self.closed_at, self.close_number):
                return
            self.agenda.pop()
            self.flow.now = at
            if kind == TICK:
                starved = starved + 1 if self._starves() else 0
                self._check_progress(starved)
            self._do(kind)

    def _do(self, kind: int) -> None:
        if kind == WAKE:
            self.flow.run()
        elif kind == TICK:
            self.recorder.sample(self, final=False)
            self.tick += 1
            self.agenda.add(self.tick * self.interval_ms, TICK)
        elif kind == CYCLE:
            self.service.cycle()
        elif kind == SUBMIT:
            self._submit()
        elif kind == FAULT:
            self._fault()
        elif kind == PAUSE and self.stopper is not None:
            self.stopper.pause(self.hosts)

    def finish(self) -> None:
        """The last task known has ended: final sample in the middle of everything, and CLOSE."""
        self.recorder.sample(self, final=True)
        self.closed_at, self.close_number = self.flow.now, self.agenda.take_number()

    def _submit(self) -> None:
        while self.pending and self.pending[-1].submit_ms <= self.flow.now:
            self.service.submit(self.pending.pop())
        self.submit_number = self.agenda.take_number()
        if self.pending:
            self._plan_submission()

    def _plan_submission(self) -> None:
        at = max(self.pending[-1].submit_ms, self.flow.now)
        self.agenda.add(at, SUBMIT, self.submit_number)
        self.submit_number = -1

    def _fault(self) -> None:
        """Hosts fail, or those that failed come back; goes on at once where there is nothing to wait for."""
        failures = self.failures
        assert failures is not None
        while True:
            if failures.down:
                for h in failures.heal():
                    self.service.recover(self.hosts[h])
                wait = failures.interval_ms()
            else:
                wait = failures.strike(len(self.hosts))
                for h in failures.down:
                    self.service.fail(self.hosts[h])
                if not failures.down:  # a share too small for any host
                    failures.heal()
                    wait = wait + (failures.interval_ms() or 0) if failures.interval_ms() is not None else None
            if wait is None:
                return
            if wait > 0:
                self.agenda.add(self.flow.now + wait, FAULT)
                return

    def _check_progress(self, starved: int) -> None:
        """Raise when tasks are left although nothing can ever happen (SEMANTICS 11)."""
        service = self.service
        if service.open_end or self.pending or self.closed_at >= 0:
            return
        nothing_due = not self.agenda.items
        if service.active:
            if nothing_due or starved > STARVED_SAMPLES:
                raise self._starved()
            return
        if service.cycle_pending or not (service.waiting or service.blocked):
            return
        if not nothing_due:
            if any(host.state == DOWN for host in self.hosts):
                return
            if self.carbon is not None and self.carbon.at + 1 < len(self.carbon.starts):
                return
        task = (service.waiting or service.blocked)[0]
        raise stuck.never_ends(self._why_waiting(task), task.name)

    def _starves(self) -> bool:
        """Whether no running task is granted anything that would do its work."""
        if not self.service.perfect or not self.service.active or self.failures is not None:
            return False
        return all(task.execution is None or task.execution.starves() for h in self.hosts for task in h.running)

    def _starved(self) -> EngineError:
        task = next(task for host in self.hosts for task in host.running)
        assert task.execution is not None
        return stuck.never_ends(stuck.gets_nothing(task.name, task.host_name, task.execution.demand[CPU]), task.name)

    def _why_waiting(self, task: Task) -> str:
        if task.blockers:
            return stuck.waits_for_parent(task.name, [self._fate(parent) for parent in sorted(task.blockers)])
        needs = (task.name, task.cpu_count, task.mem_mib)
        why = stuck.fits_no_host(*needs, [(host.cores, host.memory_mib) for host in self.hosts])
        if why is not None:
            return why
        if any(host.state == DOWN for host in self.hosts):
            return stuck.is_down(task.name)
        scheduler = self.service.scheduler
        shift = scheduler.shift if isinstance(scheduler, MemorizingTimeshift) else scheduler
        if isinstance(shift, TimeshiftScheduler) and shift.waits(task):
            return stuck.was_put_off(task.name, "timeshift", has_carbon=self.carbon is not None)
        if isinstance(scheduler, MemorizingScheduler):
            name = "timeshift with memorize" if isinstance(scheduler, MemorizingTimeshift) else "TaskNumMemorizing"
            return stuck.was_passed_over(task.name, name)
        return stuck.passes_no_filter(*needs, scheduler.filters)

    def _fate(self, parent: int) -> str:
        task = self.service.tasks.get(parent)
        return f"{parent} is {task.state if task is not None else 'not in the trace, or was terminated'}"

    def forget_end(self) -> None:
        """Allow the run to go on after a final sample."""
        self.closed_at = self.close_number = -1


class CycleOnCarbon:
    """Asks for a scheduling cycle whenever the carbon intensity changes."""

    __slots__ = ("service",)

    def __init__(self, service: Service) -> None:
        self.service = service

    def on_carbon(self, intensity: float) -> None:
        """The carbon intensity changed."""
        self.service.request_cycle()


def _feed(supplier: Any, distributor: Distributor, owner: Any) -> None:
    """Let a power source or aggregator supply a distributor."""
    link = Link(distributor, supplier)
    owner.user = link
    distributor.add_supplier(link, float(2**63))
