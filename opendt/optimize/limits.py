"""What every proposal must respect: fixed hosts, size limits, room for the largest task and for the peak."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opendt.models.topology import HostType, Topology
from opendt.models.workload import Workload
from opendt.optimize.outcome import Outcome
from opendt.settings import OptimizeSettings, SloSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a search or of an answer.

    Attributes:
        base: topology in force.
        fixed_hosts: names of host types that stay as they are.
        max_hosts: most hosts in all, None for no limit.
        max_growth_ratio: most of host count, cores and speed relative to ``base``.
        min_cores: cores the datacenter must keep (peak in use times headroom).
        largest_task_cores: cores of the largest task; some host type must be able to hold it.
    """

    base: Topology
    fixed_hosts: frozenset[str]
    max_hosts: int | None
    max_growth_ratio: float
    min_cores: int
    largest_task_cores: int

    def most(self, value: float) -> float:
        """Upper bound of a quantity that is ``value`` now."""
        return value * self.max_growth_ratio

    def broken(self, topology: Topology) -> list[str]:
        """Every limit a topology breaks, in words; empty when it is acceptable."""
        problems = self._shape(topology)
        if problems:
            return problems
        for before, after in zip(_hosts(self.base), _hosts(topology), strict=True):
            problems += self._host(before, after)
        if self.max_hosts is not None and topology.host_count > self.max_hosts:
            problems.append(f"{topology.host_count} hosts, the limit is {self.max_hosts}")
        if topology.core_count < self.min_cores:
            problems.append(f"{topology.core_count} cores, the peak needs {self.min_cores}")
        if max(host.cores for host in _hosts(topology)) < self.largest_task_cores:
            problems.append(f"no host has the {self.largest_task_cores} cores of the largest task")
        return problems

    def _shape(self, topology: Topology) -> list[str]:
        names = [(c.name, [h.name for h in c.hosts]) for c in topology.clusters]
        if names != [(c.name, [h.name for h in c.hosts]) for c in self.base.clusters]:
            return ["clusters and host types must stay the ones there are"]
        return []

    def _host(self, before: HostType, after: HostType) -> list[str]:
        if before == after:
            return []
        if before.name in self.fixed_hosts:
            return [f"host type {before.name} is fixed"]
        problems = []
        for what, old, new in (
            ("hosts", before.count, after.count),
            ("cores", before.cores, after.cores),
            ("MHz", before.cpu.coreSpeed, after.cpu.coreSpeed),
        ):
            if new > max(old, self.most(old)) + 1e-9:
                problems.append(f"{before.name}: {new:g} {what}, at most {self.most(old):g} allowed")
        return problems


def make_limits(
    base: Topology, baseline: Outcome, workload: Workload, settings: OptimizeSettings, slo: SloSettings
) -> Limits:
    """The limits that follow from the settings, the workload and what the baseline needed at its peak.

    A peak above the present cores (it cannot be, unless hosts are overcommitted) does not ask for more than there are.
    """
    runnable = workload.tasks.cpu_count[workload.runnable]
    cores = [host.cores for host in _hosts(base)]
    largest = int(runnable[runnable <= max(cores)].max(initial=0))
    peak = math.ceil(baseline.peak_cores * _headroom(settings, slo))
    return Limits(
        base, frozenset(settings.fixed_hosts), settings.max_hosts, settings.max_growth_ratio,
        min(peak, base.core_count), largest,
    )  # fmt: skip


def _headroom(settings: OptimizeSettings, slo: SloSettings) -> float:
    """Without a target that bounds waiting, a search would let tasks queue for ever to save energy."""
    if settings.peak_headroom_ratio is not None:
        return settings.peak_headroom_ratio
    return 1.0 if slo.runtime_h is None and slo.queue_delay_s is None else 0.0


def _hosts(topology: Topology) -> list[HostType]:
    return [host for cluster in topology.clusters for host in cluster.hosts]
