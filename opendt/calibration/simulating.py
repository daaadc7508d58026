"""Simulating many topologies for a search: with OpenDC all of a batch in one JVM, with our engine one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from opendt.engine.base import Engine, EngineOptions, SimulationResult, simulate
from opendt.engine.whole import total_power_w
from opendt.errors import OpenDTError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Workload


def simulator(
    engine: Engine, workload: Workload, options: EngineOptions
) -> Callable[[Sequence[Topology]], list[PowerSeries | OpenDTError]]:
    """A function from topologies to their simulated power, or to the error in the place of one that failed."""

    def run(topologies: Sequence[Topology]) -> list[PowerSeries | OpenDTError]:
        together: Any = getattr(engine, "simulate_each", None)
        if together is not None:
            return [_power(r) for r in together(list(topologies), workload, options)]
        return [_power(_one(engine, topology, workload, options)) for topology in topologies]

    return run


def _one(engine: Engine, topology: Topology, workload: Workload, options: EngineOptions) -> Any:
    try:
        return simulate(engine, topology, workload, options)
    except OpenDTError as error:
        return error


def _power(result: SimulationResult | OpenDTError) -> PowerSeries | OpenDTError:
    """Power of all clusters at each sample time; of rows with equal times the first counts."""
    if isinstance(result, OpenDTError):
        return result
    watts = total_power_w(result.power_source)
    times = result.service["timestamp_absolute"].to_numpy()
    unique, first = np.unique(times, return_index=True)
    return PowerSeries(unique.astype(np.int64), watts[first])
