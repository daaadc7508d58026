"""Simulating variants of a topology on one workload, each at most once."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from opendt.engine.base import Engine, EngineOptions, Occupancy, simulate
from opendt.errors import EngineError, TopologyError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.optimize.outcome import Outcome, outcome_of


@dataclass(frozen=True, slots=True)
class Simulated:
    """One simulated variant: its outcome, and how long how many hosts stood at which utilisation.

    ``occupancy`` has a single sample, the average over the run: all that the energy under another power model needs.
    """

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
        self._lock = threading.Lock()
        self._known: dict[tuple[str, bytes], Simulated | Failed] = {}

    def run(self, topology: Topology, allocation: dict[str, Any] | None = None) -> Simulated | Failed:
        """The variant's simulation, from memory where it has been simulated before."""
        policy = allocation or self.options.allocation
        key = topology.version, orjson.dumps(policy, option=orjson.OPT_SORT_KEYS)
        with self._lock:
            if key in self._known:
                self.hits += 1
                return self._known[key]
        found = self._simulate(topology, replace(self.options, allocation=policy))
        with self._lock:
            self.simulations += 1
            self._known[key] = found
        return found

    def run_many(self, variants: Sequence[tuple[Topology, dict[str, Any] | None]]) -> list[Simulated | Failed]:
        """Several variants side by side, in order; the native kernels release the interpreter lock."""
        workers = min(len(variants), self.workers)
        if workers < 2:
            return [self.run(*variant) for variant in variants]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda variant: self.run(*variant), variants))

    @property
    def workers(self) -> int:
        """Simulations worth running side by side."""
        return min(8, os.cpu_count() or 1) if self.engine.name == "native" else 1

    def _simulate(self, topology: Topology, options: EngineOptions) -> Simulated | Failed:
        try:
            result = simulate(self.engine, topology, self.workload, options, self.carbon)
        except (EngineError, TopologyError) as error:
            return Failed(topology, error.message)
        runnable = self.workload.tasks.submission_ms[self.workload.runnable]
        start_ms = int(runnable.min()) if len(runnable) else 0
        outcome = outcome_of(result, topology, self.workload)
        return Simulated(topology, outcome, condensed(result.occupancy, start_ms), start_ms)


def condensed(occupancy: Occupancy | None, start_ms: int) -> Occupancy | None:
    """The occupancy averaged over time into one sample at its end; None stays None.

    Energy is linear in the weights, so it comes out the same under every power model, in a thousandth of the memory.
    """
    if occupancy is None or len(occupancy.timestamp_ms) == 0:
        return None
    times = np.asarray(occupancy.timestamp_ms, dtype=np.float64)
    if times[-1] <= start_ms:
        return None
    share = np.diff(times, prepend=float(start_ms)) / (times[-1] - start_ms)
    mean = np.tensordot(share, np.asarray(occupancy.mean_weights, np.float64), axes=1)[None]
    active = np.tensordot(share, np.asarray(occupancy.active_hosts, np.float64), axes=1)[None]
    return replace(
        occupancy, timestamp_ms=occupancy.timestamp_ms[-1:], weights=mean, mean_weights=mean, active_hosts=active
    )
