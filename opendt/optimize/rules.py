"""Rule-based proposals: five thresholds on how far energy and runtime are from their targets.

The thresholds are those of OpenDT v0.1 (atlarge-research/OpenDT @ 54411db); the first that applies wins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from opendt.models.topology import HostType, Topology
from opendt.optimize.objective import relative_delta
from opendt.settings import SloSettings

ENERGY_CRITICAL = 0.30
ENERGY_HIGH = 0.15
RUNTIME_CRITICAL = 0.25
RUNTIME_HIGH = 0.10
ENERGY_SLACK = -0.20
RUNTIME_SLACK = -0.10
SPEED_STEP, SPEED_MIN_MHZ = 0.9, 1800
CORES_STEP_LARGE, CORES_MAX_LARGE = 4, 48
CORES_STEP_SMALL, CORES_MAX_SMALL = 2, 32
CORES_STEP_DOWN, CORES_MIN = 2, 8


@dataclass(frozen=True, slots=True)
class RuleAdvice:
    """What the rules say: the rule that applied, topology changes (path → value) and the reasons in words."""

    rule: str
    changes: dict[str, Any]
    reasons: tuple[str, ...]


def advise(
    topology: Topology, energy_kwh: float, runtime_h: float, slo: SloSettings, fixed_hosts: Collection[str] = ()
) -> RuleAdvice:
    """The rules' advice for a simulated energy [kWh] and runtime [h].

    A target left out never triggers a rule; host types named in ``fixed_hosts`` are never changed.
    """
    changes = partial(_each, topology, fixed_hosts)
    energy = None if slo.energy_kwh is None else relative_delta(energy_kwh, slo.energy_kwh)
    runtime = None if slo.runtime_h is None else relative_delta(runtime_h, slo.runtime_h)
    if energy is not None and energy >= ENERGY_CRITICAL:
        return _advice(
            "fewer hosts", _above("energy", energy, energy_kwh, slo.energy_kwh, "kWh"),
            "one host fewer per host type (at least 1 stays)", changes("count", _one_less),
        )  # fmt: skip
    if energy is not None and energy >= ENERGY_HIGH:
        return _advice(
            "slower cores", _above("energy", energy, energy_kwh, slo.energy_kwh, "kWh"),
            f"core speed 10 % lower (not below {SPEED_MIN_MHZ} MHz)", changes("cpu.coreSpeed", _slower),
        )  # fmt: skip
    if runtime is not None and runtime >= RUNTIME_CRITICAL:
        return _advice(
            "many more cores", _above("runtime", runtime, runtime_h, slo.runtime_h, "h"),
            f"{CORES_STEP_LARGE} more cores per processor (at most {CORES_MAX_LARGE})",
            changes("cpu.coreCount", lambda h: _more_cores(h, CORES_STEP_LARGE, CORES_MAX_LARGE)),
        )  # fmt: skip
    if runtime is not None and runtime >= RUNTIME_HIGH:
        return _advice(
            "more cores", _above("runtime", runtime, runtime_h, slo.runtime_h, "h"),
            f"{CORES_STEP_SMALL} more cores per processor (at most {CORES_MAX_SMALL})",
            changes("cpu.coreCount", lambda h: _more_cores(h, CORES_STEP_SMALL, CORES_MAX_SMALL)),
        )  # fmt: skip
    if energy is not None and runtime is not None and energy <= ENERGY_SLACK and runtime <= RUNTIME_SLACK:
        return _advice(
            "fewer cores", f"energy is {-energy:.0%} and runtime {-runtime:.0%} below target",
            f"{CORES_STEP_DOWN} cores fewer per processor (at least {CORES_MIN})",
            changes("cpu.coreCount", _fewer_cores),
        )  # fmt: skip
    return RuleAdvice("maintain", {}, (_steady(energy, runtime),))


def _advice(rule: str, cause: str, remedy: str, changes: dict[str, Any]) -> RuleAdvice:
    if not changes:
        return RuleAdvice("maintain", {}, (f"{cause}: {remedy}", "every host type is fixed or already at that limit"))
    return RuleAdvice(rule, changes, (f"{cause}: {remedy}",))


def _above(what: str, delta: float, actual: float, target: float | None, unit: str) -> str:
    return f"{what} is {delta:.0%} above target ({actual:.4g} {unit}, target {target:.4g} {unit})"


def _steady(energy: float | None, runtime: float | None) -> str:
    if energy is None and runtime is None:
        return "neither an energy nor a runtime target is set: keep the topology"
    parts = [f"{what} {delta:+.0%}" for what, delta in (("energy", energy), ("runtime", runtime)) if delta is not None]
    return f"{' and '.join(parts)} against target: no rule applies, keep the topology"


def _each(
    topology: Topology, fixed_hosts: Collection[str], field: str, new_value: Callable[[HostType], int | None]
) -> dict[str, Any]:
    """The field's new value for every host type the rule changes."""
    proposed = ((path, new_value(host)) for path, host in host_types(topology) if host.name not in fixed_hosts)
    return {f"{path}.{field}": value for path, value in proposed if value is not None}


def host_types(topology: Topology) -> Iterator[tuple[str, HostType]]:
    """(path, host type) of every host type in the topology's order."""
    for c, cluster in enumerate(topology.clusters):
        for h, host in enumerate(cluster.hosts):
            yield f"clusters[{c}].hosts[{h}]", host


def _one_less(host: HostType) -> int | None:
    return host.count - 1 if host.count > 1 else None


def _slower(host: HostType) -> int | None:
    speed = host.cpu.coreSpeed
    return max(SPEED_MIN_MHZ, int(speed * SPEED_STEP)) if speed > SPEED_MIN_MHZ else None


def _more_cores(host: HostType, step: int, most: int) -> int | None:
    return min(most, host.cpu.coreCount + step) if host.cpu.coreCount < most else None


def _fewer_cores(host: HostType) -> int | None:
    return max(CORES_MIN, host.cpu.coreCount - CORES_STEP_DOWN) if host.cpu.coreCount > CORES_MIN else None
