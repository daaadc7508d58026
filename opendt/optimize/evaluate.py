"""Simulating variants of a topology on one workload, each at most once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from opendt.engine.base import Engine, EngineOptions, Occupancy, simulate
from opendt.errors import EngineError, TopologyError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.optimize.outcome import Outcome, outcome_of


@dataclass(frozen=True, slots=True)
class Simulated:
    """One simulated variant: its outcome, and the occupancy that can be priced with other power models."""

    topology: Topology
    outcome: Outcome
    occupancy: Occupancy | None
    start_ms: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A variant that could not be simulated: a reason, never a number."""

    topology: Topology
    reason: str


def evaluate(
    engine: Engine,
    topology: Topology,
    workload: Workload,
    carbon: CarbonTrace | None = None,
    options: EngineOptions | None = None,
) -> Outcome:
    """Simulate a workload on a topology from beginning to end and sum it up.

    Raises what the engine raises: ``TopologyError``, ``EngineError``.
    """
    result = simulate(engine, topology, workload, options or EngineOptions(host_every=0), carbon)
    return outcome_of(result, topology, workload)


class Evaluator:
    """Simulates variants on one workload and remembers them, so that asking twice costs once.

    ``simulations`` counts real simulations; ``hits`` counts answers from memory.
    """

    def __init__(
        self,
        engine: Engine,
        workload: Workload,
        carbon: CarbonTrace | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        self.engine = engine
        self.workload = workload
        self.carbon = carbon
        self.options = replace(options or EngineOptions(), host_every=0, task_rows=False)
        self.simulations = 0
        self.hits = 0
        self._known: dict[tuple[str, bytes], Simulated | Failed] = {}

    def run(self, topology: Topology, allocation: dict[str, Any] | None = None) -> Simulated | Failed:
        """The variant's simulation, from memory where it has been simulated before."""
        policy = allocation or self.options.allocation
        key = topology.version, orjson.dumps(policy, option=orjson.OPT_SORT_KEYS)
        if key in self._known:
            self.hits += 1
            return self._known[key]
        self.simulations += 1
        found = self._simulate(topology, replace(self.options, allocation=policy))
        self._known[key] = found
        return found

    def _simulate(self, topology: Topology, options: EngineOptions) -> Simulated | Failed:
        try:
            result = simulate(self.engine, topology, self.workload, options, self.carbon)
        except (EngineError, TopologyError) as error:
            return Failed(topology, error.message)
        runnable = self.workload.tasks.submission_ms[self.workload.runnable]
        start_ms = int(runnable.min()) if len(runnable) else 0
        return Simulated(topology, outcome_of(result, topology, self.workload), result.occupancy, start_ms)
