"""What a search may vary, as named dimensions, and how a point becomes a change of the topology.

Four dimensions per host type (hosts, cores per processor, core speed, power cap) and one for the allocation policy. A
dimension with a single value is left out. Points that break a limit are repaired the same way every time, so that no
simulation is spent on them: the host limit is applied, then the capacity for the peak restored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from opendt.models.topology import HostType, Topology
from opendt.optimize.hardware import capped, peak_w, scaled, usable_ratio
from opendt.optimize.limits import Limits
from opendt.optimize.rules import host_types
from opendt.settings import OptimizeSettings

SPEED_STEP_MHZ = 100.0
SPEED_LEAST_RATIO = 0.5
CORES_LEAST_RATIO = 0.25
CAP_RATIOS: tuple[float, ...] = tuple(round(float(r), 2) for r in np.arange(0.5, 1.001, 0.05))
POLICIES: tuple[str, ...] = (
    "Mem", "MemInv", "CoreMem", "ActiveServers", "ActiveServersInv", "ProvisionedCores", "ProvisionedCoresInv",
)  # fmt: skip

Point = tuple[int, ...]  # an index into each dimension's values


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that varies: its values in order. ``host`` is the path of the host type, empty for the policy."""

    kind: str
    host: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Readable name, unique in the space."""
        return f"{self.host}.{self.kind}" if self.host else self.kind


@dataclass(frozen=True, slots=True)
class Space:
    """The dimensions of a search around a base topology."""

    base: Topology
    dimensions: tuple[Dimension, ...]
    limits: Limits
    speed_power_exponent: float

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(len(d.values) for d in self.dimensions)

    def random(self, generator: np.random.Generator) -> Point:
        """A random point: each dimension keeps its present value with one half, else takes any of its values evenly.

        Most good variants change few things; drawing all dimensions at once would hardly ever try those.
        """
        point = tuple(
            int(generator.integers(len(d.values))) if generator.random() < 0.5 else _present(d, self.base)
            for d in self.dimensions
        )
        return point if point != self.present() else self.random(generator)

    def present(self) -> Point:
        """The point of the base topology."""
        return tuple(_present(d, self.base) for d in self.dimensions)

    def start(self, peak_cores: int) -> list[Point]:
        """Points worth trying first, at unchanged hardware: just the hosts that carry the peak of cores in use, a
        seventh fewer (some waiting), and half way to the present count."""
        if not any(d.kind == "hosts" for d in self.dimensions):
            return []
        least = min(1.0, peak_cores / max(1, self.base.core_count))
        return list(dict.fromkeys(self._with_hosts(share) for share in (least, least * 6 / 7, (1 + least) / 2)))

    def values(self, point: Point) -> dict[str, Any]:
        """Dimension name → value at a point."""
        return {d.name: d.values[i] for d, i in zip(self.dimensions, point, strict=True)}

    def changes(self, point: Point) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """(topology changes, allocation policy or None) of a point, limits restored."""
        chosen = self.values(point)
        hosts = {
            path: HostSetting(
                host, chosen.get(f"{path}.hosts", host.count), chosen.get(f"{path}.cores", host.cpu.coreCount),
                chosen.get(f"{path}.speed", host.cpu.coreSpeed), chosen.get(f"{path}.power_cap", 1.0),
            )
            for path, host in host_types(self.base)
        }  # fmt: skip
        self._repair(hosts)
        changes: dict[str, Any] = {}
        for path, host in hosts.items():
            changes |= host.changes(path, self.speed_power_exponent)
        policy = chosen.get("allocation")
        return changes, None if policy is None else {"type": "prefab", "policyName": policy}

    def _with_hosts(self, share: float) -> Point:
        """Host counts at this share of the present ones, nothing else changed."""
        point = []
        counts = {path: host.count for path, host in host_types(self.base)}
        for dimension in self.dimensions:
            if dimension.kind == "hosts":
                wanted = counts[dimension.host] * share
                point.append(int(np.argmin(np.abs(np.asarray(dimension.values) - math.ceil(wanted - 1e-9)))))
            else:
                point.append(_present(dimension, self.base))
        return tuple(point)

    def _repair(self, hosts: dict[str, HostSetting]) -> None:
        """Apply the limit on hosts, then restore the capacity for the peak with hosts and, if need be, with cores."""
        varied = {d.name for d in self.dimensions}
        large_first = sorted(hosts.items(), key=lambda item: -item[1].cores)
        free = [host for path, host in large_first if f"{path}.hosts" in varied]
        if self.limits.max_hosts is not None:
            for host in reversed(free):
                excess = sum(h.count for h in hosts.values()) - self.limits.max_hosts
                host.count -= max(0, min(excess, host.count - 1))
        for host in free:
            host.count += min(self._room(hosts, host), max(0, math.ceil(self._missing(hosts) / host.cores)))
        for path, host in large_first:
            if self._missing(hosts) > 0 and f"{path}.cores" in varied:
                host.core_count = max(host.core_count, host.type.cpu.coreCount)

    def _missing(self, hosts: dict[str, HostSetting]) -> int:
        """Cores the peak needs and a point does not have."""
        return self.limits.min_cores - sum(h.count * h.cores for h in hosts.values())

    def _room(self, hosts: dict[str, HostSetting], host: HostSetting) -> int:
        """Hosts of a type that may still be added."""
        room = math.floor(self.limits.most(host.type.count) + 1e-9) - host.count
        if self.limits.max_hosts is not None:
            room = min(room, self.limits.max_hosts - sum(h.count for h in hosts.values()))
        return max(0, room)


@dataclass(slots=True)
class HostSetting:
    """A host type with other numbers: ``core_count`` per processor, ``speed`` [MHz], ``cap`` as share of peak power."""

    type: HostType
    count: int
    core_count: int
    speed: float
    cap: float

    @property
    def cores(self) -> int:
        return self.core_count * self.type.cpu.count

    def changes(self, path: str, exponent: float) -> dict[str, Any]:
        """The changes of this host type. Power follows the hardware (``hardware.py``)."""
        cpu = self.type.cpu
        changes: dict[str, Any] = {}
        if self.count != self.type.count:
            changes[f"{path}.count"] = self.count
        if self.core_count != cpu.coreCount:
            changes[f"{path}.cpu.coreCount"] = self.core_count
        model = scaled(self.type.cpuPowerModel, self.core_count / cpu.coreCount, self.speed / cpu.coreSpeed, exponent)
        speed = self.speed
        if self.cap < 1.0:
            usable = usable_ratio(model, self.cap * peak_w(model))
            if 0.0 < usable < 1.0:
                model, speed = capped(model, usable), speed * usable
        if speed != cpu.coreSpeed:
            changes[f"{path}.cpu.coreSpeed"] = speed
        if model != self.type.cpuPowerModel:
            changes[f"{path}.cpuPowerModel"] = model.model_dump(mode="json", exclude_defaults=True)
        return changes


def make_space(base: Topology, limits: Limits, settings: OptimizeSettings) -> Space:
    """The space the settings open around a topology. Host types that are fixed have no dimension."""
    found = [
        Dimension(kind, path, values)
        for path, host in host_types(base)
        if host.name not in limits.fixed_hosts
        for kind, values in _host_values(host, limits)
        if kind in settings.vary and len(values) > 1
    ]
    if "allocation" in settings.vary:
        found.append(Dimension("allocation", "", POLICIES))
    return Space(base, tuple(found), limits, settings.speed_power_exponent)


def _host_values(host: HostType, limits: Limits) -> list[tuple[str, tuple[Any, ...]]]:
    cpu = host.cpu
    per_socket = math.ceil(min(limits.largest_task_cores, host.cores) / cpu.count)
    fewest = max(1, math.ceil(cpu.coreCount * CORES_LEAST_RATIO), per_socket)
    slowest = math.ceil(cpu.coreSpeed * SPEED_LEAST_RATIO / SPEED_STEP_MHZ) * SPEED_STEP_MHZ
    speeds = {float(s) for s in np.arange(slowest, limits.most(cpu.coreSpeed) + 1e-9, SPEED_STEP_MHZ)}
    return [
        ("hosts", tuple(range(1, math.floor(limits.most(host.count) + 1e-9) + 1))),
        ("cores", tuple(range(fewest, math.floor(limits.most(cpu.coreCount) + 1e-9) + 1))),
        ("speed", tuple(sorted(speeds | {cpu.coreSpeed}))),
        ("power_cap", CAP_RATIOS),
    ]


def _present(dimension: Dimension, base: Topology) -> int:
    """Index of the value the base topology has now."""
    host = dict(host_types(base)).get(dimension.host)
    now: Any = "Mem"
    if host is not None:
        now = {"hosts": host.count, "cores": host.cpu.coreCount, "speed": host.cpu.coreSpeed, "power_cap": 1.0}[
            dimension.kind
        ]
    return dimension.values.index(now)
