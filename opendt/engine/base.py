"""The Engine protocol and its promises.

Promises every engine keeps (``tests/engine/conformance.py`` checks them):

1. ``advance`` over windows gives exactly what one ``advance`` over everything gives.
2. ``state.to_bytes()`` and ``state_from_bytes`` are inverse; a run resumed from bytes gives the same results.
3. ``advance`` never changes the state it is given; it returns a new one. A failed call leaves the old one valid.
4. ``until_ms`` is exclusive: events and samples at exactly ``until_ms`` belong to the next call. ``None`` runs until
   the last task known has ended and adds the final sample (SEMANTICS 5.5).
5. Same input, same output, byte for byte.
6. Failure is an ``EngineError`` with a reason, never a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

from opendt.models.telemetry import CarbonTrace, no_carbon
from opendt.models.topology import Topology
from opendt.models.workload import Workload


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What to simulate and what to record.

    Attributes:
        sample_interval_ms: spacing of samples on the simulated clock, from the first submission [ms].
        host_every: host rows at every n-th sample; 0 for none.
        task_rows: whether to record the task table (one row per live task and sample; large).
        scaling: what overload does: ``NoDelay`` keeps durations, ``Perfect`` conserves work.
        allocation: OpenDC's allocation policy object, e.g. ``{"type": "prefab", "policyName": "Mem"}``.
        failures, checkpoints: OpenDC's failure and checkpoint model objects, or None.
        max_failures: failures after which a task is terminated.
        seed: seed of every random choice.
        occupancy_knots: utilisation levels of ``Occupancy``, at least 2; 0 for no occupancy.
        exact: follow OpenDC's update procedure step by step (SEMANTICS 6), quirks included. The native engine does so
            by itself where the closed form would not give the same results; asking for it costs time.
    """

    sample_interval_ms: int = 30_000
    host_every: int = 10
    task_rows: bool = False
    scaling: Literal["NoDelay", "Perfect"] = "NoDelay"
    allocation: dict[str, Any] = field(default_factory=lambda: {"type": "prefab", "policyName": "Mem"})
    failures: dict[str, Any] | None = None
    checkpoints: dict[str, Any] | None = None
    max_failures: int = 10
    seed: int = 0
    occupancy_knots: int = 129
    exact: bool = False


@runtime_checkable
class EngineState(Protocol):
    """Everything an engine needs to go on. Opaque outside its engine."""

    @property
    def now_ms(self) -> int | None:
        """Epoch time up to which the simulation is complete; None before the first task."""

    def to_bytes(self) -> bytes:
        """A self-contained snapshot."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How utilised hosts were, apart from what that cost: enough to price any power curve.

    ``weights[s, g, k]`` is the number of hosts of host group ``g`` at utilisation ``knots[k]`` at sample ``s``; a host
    between two knots is split linearly between them, so a curve linear between knots is priced exactly:
    ``power_w[s] = sum_g weights[s, g] @ curve_g(knots)``. ``mean_weights`` is the same averaged over the
    sample's interval (energy of the interval divided by its length). Both float32.

    Attributes:
        timestamp_ms: sample times, epoch ms, shape (s,).
        knots: utilisations from 0 to 1, shape (k,).
        groups: (cluster index, host type index) of each group.
        active_hosts: hosts with any running task at each sample, shape (s, g).
    """

    timestamp_ms: Any
    knots: Any
    groups: tuple[tuple[int, int], ...]
    weights: Any
    mean_weights: Any
    active_hosts: Any


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What one ``advance`` produced: samples in [previous until, until) and totals of this call.

    Tables have OpenDC's columns, types and order (SEMANTICS 9): ``power_source``, ``host``, ``service`` and, when
    asked for, ``task``. ``task_events`` has task_id (int64), task_name, event
    (submitted, scheduled, completed, terminated, failed), time_ms (epoch), host_name, cluster_name.
    ``energy_j``, ``carbon_g`` are integrals over the call, exact to the last event processed.
    """

    power_source: pa.Table
    host: pa.Table
    service: pa.Table
    task: pa.Table | None
    task_events: pa.Table
    occupancy: Occupancy | None
    energy_j: float
    carbon_g: float
    tasks_started: int
    tasks_completed: int
    tasks_terminated: int
    tasks_running: int
    tasks_waiting: int
    battery: pa.Table | None = None


class Engine(Protocol):
    """A simulator. Stateless itself; everything lives in the state."""

    name: str
    version: str

    def start(self, topology: Topology, options: EngineOptions, carbon: CarbonTrace | None = None) -> EngineState:
        """A state before the first task. Raises ``TopologyError`` for what this engine cannot simulate.

        One carbon trace serves the cluster whose power source names one (or the only cluster).
        """

    def advance(
        self, state: EngineState, arrived: Workload, until_ms: int | None
    ) -> tuple[EngineState, SimulationResult]:
        """Simulate up to ``until_ms`` (epoch, exclusive; None = to the end) with newly arrived work.

        ``arrived.fragments`` may continue tasks of earlier calls; a task's ``fragment_count`` says how many it will
        have in all. A running task whose next fragment has not arrived by the time it is needed is an
        ``EngineError`` naming the task. Tasks without fragments are ignored (never submitted).
        """

    def with_topology(self, state: EngineState, topology: Topology) -> EngineState:
        """The state under another topology, from its current time on; running tasks keep running."""

    def state_from_bytes(self, data: bytes) -> EngineState:
        """Inverse of ``EngineState.to_bytes``. Raises ``EngineError`` for another engine's or version's state."""


def simulate(
    engine: Engine,
    topology: Topology,
    workload: Workload,
    options: EngineOptions | None = None,
    carbon: CarbonTrace | None = None,
) -> SimulationResult:
    """A whole workload in one call, from the first submission to the end of the last task."""
    state = engine.start(topology, options or EngineOptions(), carbon or no_carbon())
    return engine.advance(state, workload, None)[1]
