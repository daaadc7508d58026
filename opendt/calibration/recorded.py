"""Recorded traces, simulated for calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opendt.calibration.search import take_samples
from opendt.engine.base import EngineOptions, Occupancy, SimulationResult, simulate
from opendt.errors import InputError, TraceError
from opendt.traces import Trace, read_trace
from opendt.units import MS_PER_DAY, MS_PER_S

if TYPE_CHECKING:
    from opendt.settings import Settings


def engine_options(settings: Settings) -> EngineOptions:
    """Options of a simulation for calibration: power and occupancy on the sampling grid, little else."""
    return EngineOptions(
        sample_interval_ms=settings.engine.sample_interval_s * MS_PER_S,
        host_every=0 if settings.engine.name == "native" else 1,  # OpenDC's occupancy comes from its host table
        scaling=settings.engine.scaling,
        allocation=settings.engine.allocation,
        seed=settings.engine.seed,
    )


def simulate_recorded(path: Path, settings: Settings) -> tuple[Trace, SimulationResult]:
    """A trace with measured power and topology, simulated on the sampling grid of the settings.

    Raises ``TraceError`` for a trace without measured power or topology, ``InputError`` for an engine that reports no
    occupancy.
    """
    from opendt.engine import get_engine

    trace = read_trace(path)
    if trace.power is None or len(trace.power) == 0:
        raise TraceError(
            f"{path}: has no measured power (consumption.parquet), so there is nothing to compare with.",
            file=str(path / "consumption.parquet"),
        )
    if trace.topology is None:
        raise TraceError(f"{path}: has no topology.json. Put the datacenter's topology there.", file=str(path))
    engine = get_engine(settings.engine.name, settings)
    result = simulate(engine, trace.topology, trace.workload, engine_options(settings))
    if result.occupancy is None:
        raise InputError(f"engine {settings.engine.name} reported no occupancy; use the native engine.")
    return trace, result


def simulated_trace(path: Path, settings: Settings, *, days: float | None = None) -> tuple[Trace, Occupancy]:
    """A trace and its occupancy; ``days`` leaves only the last so many days of measured power in the occupancy."""
    trace, result = simulate_recorded(path, settings)
    assert result.occupancy is not None
    assert trace.power is not None
    if days is None:
        return trace, result.occupancy
    since = int(trace.power.timestamp_ms[-1]) - round(days * MS_PER_DAY)
    return trace, take_samples(result.occupancy, np.asarray(result.occupancy.timestamp_ms) > since)
