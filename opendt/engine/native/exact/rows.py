"""Rows of the result tables as OpenDC's readers report them: values now, differences since the last row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from opendt.engine.base import EngineOptions
from opendt.engine.native.exact.occupancy import Occupied, occupied
from opendt.engine.native.exact.service import DOWN, Host, Task
from opendt.engine.native.exact.workload import CPU, GPU, Meter
from opendt.engine.native.tables import EMBODIED_G_PER_MS

if TYPE_CHECKING:
    from opendt.engine.native.exact.battery import Battery
    from opendt.engine.native.exact.power import Source
    from opendt.engine.native.exact.world import World

TASK_TOTALS = ("cpu_time_active", "cpu_time_idle", "cpu_time_steal", "gpu_time_active", "gpu_time_idle",
               "gpu_time_steal", "uptime", "downtime")  # fmt: skip


class Recorder:
    """Collects rows; ``take`` hands them over and starts anew. What rows report differences of stays."""

    __slots__ = ("battery", "host", "host_every", "knots", "occupancy", "sampled_ms", "service", "source", "task",
                 "task_rows")  # fmt: skip

    def __init__(self, options: EngineOptions) -> None:
        self.host_every = options.host_every
        self.task_rows = options.task_rows
        self.knots = options.occupancy_knots
        self.sampled_ms = 0
        self.occupancy: list[Occupied] = []
        self.source: list[tuple[Any, ...]] = []
        self.host: list[tuple[Any, ...]] = []
        self.service: list[tuple[Any, ...]] = []
        self.battery: list[tuple[Any, ...]] = []
        self.task: list[tuple[Any, ...]] = []

    def take(self) -> dict[str, list[Any]]:
        """The rows collected since the last call."""
        taken: dict[str, list[Any]] = {}
        for name in ("source", "host", "service", "battery", "task", "occupancy"):
            taken[name] = getattr(self, name)
            setattr(self, name, [])
        return taken

    def sample(self, world: World, *, final: bool) -> None:
        """Write all rows of one sample."""
        now = world.flow.now
        if self.host_every and (final or world.tick % self.host_every == 0):
            self.host += [self._host(host, now) for host in world.hosts]
        service = world.service
        if self.task_rows:
            self.task += [self._task(task, now) for task in service.tasks.values()]
        for task in service.gone:
            service.tasks.pop(task, None)
        service.gone = []
        self.source += [self._source(c, source, now) for c, source in enumerate(world.sources)]
        self.battery += [self._battery(c, b, now) for c, b in enumerate(world.batteries) if b is not None]
        if self.knots:
            self.occupancy.append(occupied(world.hosts, self.knots, self.sampled_ms, now))
        self.sampled_ms = now
        up = sum(host.state != DOWN for host in world.hosts)
        self.service.append(
            (now, up, len(world.hosts) - up, service.submitted, len(service.waiting), service.active,
             service.completed_tasks, service.terminated_tasks)
        )  # fmt: skip

    def _source(self, c: int, source: Source, now: int) -> tuple[Any, ...]:
        source.count(now)
        joules, grams = source.seen
        source.seen = (source.energy_j, source.carbon_g)
        return now, c, source.power_w, source.energy_j - joules, source.intensity, source.carbon_g - grams

    def _battery(self, c: int, battery: Battery, now: int) -> tuple[Any, ...]:
        battery.count(now)
        joules, grams = battery.seen
        battery.seen = (battery.energy_j, battery.embodied_g)
        return (now, c, battery.given_w, battery.energy_j - joules, battery.embodied_g - grams, battery.charge_j,
                battery.capacity_j, battery.state)  # fmt: skip

    def _host(self, host: Host, now: int) -> tuple[Any, ...]:
        cpu = host.cpu
        cpu.count(now)
        span = now - host.reported_ms
        host.count_uptime(now)
        host.psu.count(now)
        for gpu in host.gpus:
            gpu.count(now)
        totals = (cpu.active_ms, cpu.idle_ms, cpu.steal_ms, host.psu.energy_j, host.up_ms, host.down_ms)
        before = host.seen.get("totals", (0,) * len(totals))
        host.seen["totals"] = totals
        active, idle, steal, joules, up, down = (a - b for a, b in zip(totals, before, strict=True))
        gpus = []
        for number, gpu in enumerate(host.gpus):
            times = (gpu.active_ms, gpu.idle_ms, gpu.steal_ms)
            old = host.seen.get(f"gpu {number}", (0, 0, 0))
            host.seen[f"gpu {number}"] = times
            spent = (a - b for a, b in zip(times, old, strict=True))
            gpus.append((gpu.capacity, gpu.supplied, gpu.demand, gpu.supplied / gpu.capacity,
                         *spent, host.psu.given[gpu.plug.index]))  # fmt: skip
        return (now, host.name, host.cluster, host.cores, host.memory_mib, len(host.running), cpu.capacity,
                cpu.supplied, cpu.demand, cpu.supplied / cpu.capacity, active, idle, steal, host.psu.draw_w, joules,
                EMBODIED_G_PER_MS * span, up, down, host.boot_ms, tuple(gpus))  # fmt: skip

    def _task(self, task: Task, now: int) -> tuple[Any, ...]:
        seen = task.seen
        limit = usage = demand = 0.0
        before = {name: seen.get(name, 0) for name in TASK_TOTALS}
        if task.execution is not None:
            execution = task.execution
            execution.count(now)
            task.count_uptime(now)
            meter = execution.meters[CPU]
            limit, usage, demand = meter.capacity, meter.supply, meter.demand
            self._totals(seen, "cpu", meter)
            if GPU in execution.meters:
                meter = execution.meters[GPU]
                seen["gpu"] = (meter.capacity, meter.supply, meter.demand)
                self._totals(seen, "gpu", meter)
            seen["uptime"], seen["downtime"] = task.up_ms, task.down_ms
        times = [seen.get(name, 0) - before[name] for name in TASK_TOTALS]
        return (now, task.id, task.name, task.host_name, task.mem_mib, task.cpu_count, limit, usage, demand, *times,
                task.gpu_count, *seen.get("gpu", (0.0, 0.0, 0.0)), task.failures, task.pauses, task.schedule_ms,
                task.submit_ms, task.finish_ms, task.state)  # fmt: skip

    @staticmethod
    def _totals(seen: dict[str, Any], kind: str, meter: Meter) -> None:
        """Totals in whole seconds, as rows report them."""
        for name in ("active", "idle", "steal"):
            seen[f"{kind}_time_{name}"] = int(np.trunc(getattr(meter, f"{name}_ms") / 1000))
