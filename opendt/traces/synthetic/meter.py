"""What a power meter at the synthetic cluster would have recorded.

Tasks are really placed, by the native engine under the hidden curves; the meter then adds noise, and the hidden curves
may drift. Nothing of the datasheet topology enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.units import J_PER_KWH, MS_PER_S

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_RESOLUTION_W = 0.1


@dataclass(frozen=True, slots=True)
class Metered:
    """Measured power, and the truth about it.

    Attributes:
        power: samples as recorded.
        true_w: power without noise at the recorded samples [W].
        gaps: missing periods as (first, last missing sample) [epoch ms].
        energy_kwh: true energy of the whole recording, gaps included.
    """

    power: PowerSeries
    true_w: F64
    gaps: list[tuple[int, int]]
    energy_kwh: float

    @property
    def floor_mape_pct(self) -> float:
        """MAPE of the true power against the recorded one: no model can be expected to beat it [%]."""
        return float(np.mean(np.abs(self.true_w / self.power.power_w - 1)) * 100)


def meter(options: SyntheticOptions, hidden: Topology, workload: Workload, rng: Generator) -> Metered:
    """Power of the cluster each ``interval_s``, averaged over the interval before the sample."""
    timestamp_ms, true_w = true_power(options, hidden, workload)
    if options.drift_ms is not None:
        true_w = true_w * np.where(timestamp_ms > options.drift_ms, 1 + options.drift_pct / 100, 1.0)
    noise = 1 + options.noise_pct / 100 * rng.normal(size=len(true_w))
    measured: F64 = np.maximum(np.round(true_w * noise, 1), _RESOLUTION_W)
    keep, gaps = _gaps(options, timestamp_ms, rng)
    energy_kwh = float(true_w.sum()) * options.interval_ms / MS_PER_S / J_PER_KWH
    return Metered(PowerSeries(timestamp_ms[keep], measured[keep]), true_w[keep], gaps, energy_kwh)


def true_power(options: SyntheticOptions, hidden: Topology, workload: Workload) -> tuple[I64, F64]:
    """Sample times [epoch ms] and mean power of the interval before each [W], without noise and drift."""
    from opendt.engine.base import EngineOptions
    from opendt.engine.native.engine import NativeEngine
    from opendt.power.pricing import group_models, price

    engine = NativeEngine()
    state = engine.start(hidden, EngineOptions(sample_interval_ms=options.interval_ms, host_every=0))
    occupancy: Any = engine.advance(state, workload, options.end_ms)[1].occupancy
    watts = price(occupancy, group_models(hidden, occupancy.groups), mean=True)
    return np.asarray(occupancy.timestamp_ms, np.int64), watts


def _gaps(
    options: SyntheticOptions, timestamp_ms: I64, rng: Generator
) -> tuple[NDArray[np.bool_], list[tuple[int, int]]]:
    keep = np.ones(len(timestamp_ms), np.bool_)
    last = len(timestamp_ms) - 1  # first and last sample stay, so that gaps lie inside
    for _ in range(options.gaps if last > 2 else 0):
        length = max(1, round(rng.uniform(300, 3600) / options.interval_s))
        begin = int(rng.integers(1, last))
        keep[begin : min(begin + length, last)] = False
    edges = np.diff(np.concatenate([[0], (~keep).astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    pairs = zip(timestamp_ms[begins].tolist(), timestamp_ms[ends].tolist(), strict=True)
    return keep, list(pairs)
