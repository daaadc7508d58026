"""Which readings to believe: missing, late, frozen and spiking ones are left out, and counted by reason.

A meter that repeats a value is not frozen while the twin expects the power to stand still as well; a large error is a
spike only when it comes alone, a lasting one is a change of the cluster (``drift.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt import metrics
from opendt.models.telemetry import PowerSeries

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_GAP_MS = 600_000
FROZEN_MS = 1_800_000
FROZEN_CHANGE = 0.02  # expected change of power during a frozen run, relative
SPIKE_NOISE = 8.0  # in units of the usual error
SPIKE_LEAST = 0.15  # relative
SPIKE_LONGEST = 3  # samples


@dataclass(frozen=True, slots=True)
class Held:
    """The value the meter showed last, and since when [epoch ms]."""

    power_w: float = float("nan")
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Inspected:
    """Measured power per sample [W], NaN where there is none to believe; what was left out; the value held last."""

    measured_w: F64
    excluded: dict[str, int]
    held: Held


def inspect(readings: PowerSeries, sample_ms: I64, expected_w: F64 | None, noise: float, held: Held) -> Inspected:
    """Bring readings to sample times and leave out what cannot be believed.

    Args:
        readings: what arrived, in any order.
        sample_ms: sample times of the window, increasing [epoch ms].
        expected_w: what the twin predicts for them [W]; None while it knows nothing.
        noise: usual relative error of the prediction.
        held: from the window before.

    ``excluded`` counts readings as ``late`` (before the window), ``invalid`` (not a positive number) and
    ``beyond`` (after it); samples as ``missing``, ``frozen`` and ``spike``.
    """
    times, values = np.asarray(readings.timestamp_ms), np.asarray(readings.power_w, np.float64)
    late = times < sample_ms[0] - MAX_GAP_MS
    beyond = times > sample_ms[-1] + MAX_GAP_MS
    invalid = ~late & ~beyond & ~(np.isfinite(values) & (values > 0))
    good = ~(late | beyond | invalid)
    order = np.argsort(times[good], kind="stable")
    series = PowerSeries(times[good][order], values[good][order])
    measured = metrics.align(series, sample_ms, MAX_GAP_MS)
    missing = ~np.isfinite(measured)
    frozen, now_held = _frozen(measured, sample_ms, expected_w, held)
    spike = _spikes(measured, expected_w, noise) & ~frozen
    measured[frozen | spike] = np.nan
    counts = {"late": late, "beyond": beyond, "invalid": invalid, "missing": missing, "frozen": frozen, "spike": spike}
    return Inspected(measured, {word: int(mask.sum()) for word, mask in counts.items() if mask.any()}, now_held)


def _frozen(measured: F64, sample_ms: I64, expected_w: F64 | None, held: Held) -> tuple[Mask, Held]:
    """Samples in runs of one value that last too long while the expected power moves."""
    frozen = np.zeros(len(measured), np.bool_)
    at = np.flatnonzero(np.isfinite(measured))
    if len(at) == 0:
        return frozen, held
    values = measured[at]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values) != 0) + 1])
    ends = np.concatenate([starts[1:], [len(values)]])
    since = sample_ms[at[starts]].astype(np.int64)
    if values[0] == held.power_w:
        since[0] = held.since_ms
    for start, end, begin in zip(starts, ends, since, strict=True):
        run = at[start:end]
        if sample_ms[run[-1]] - begin >= FROZEN_MS and _moves(expected_w, run):
            frozen[run] = True
    return frozen, Held(float(values[-1]), int(since[-1]))


def _moves(expected_w: F64 | None, run: I64) -> bool:
    if expected_w is None:
        return False
    expected = expected_w[run]
    return bool(np.ptp(expected) > FROZEN_CHANGE * max(float(np.mean(expected)), 1e-9))


def _spikes(measured: F64, expected_w: F64 | None, noise: float) -> Mask:
    """Short runs of samples far from what is expected, or from the window's median while nothing is known."""
    centre: Any = np.nanmedian(measured) if expected_w is None and np.isfinite(measured).any() else expected_w
    if centre is None:
        return np.zeros(len(measured), np.bool_)
    limit = 0.5 if expected_w is None else max(SPIKE_NOISE * noise, SPIKE_LEAST)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.abs(measured / centre - 1) > limit
    far &= np.isfinite(measured)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], far.astype(np.int8), [0]])))
    spike = np.zeros(len(measured), np.bool_)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin <= SPIKE_LONGEST and end < len(measured) and begin > 0:
            spike[begin:end] = True
        elif end - begin == 1:
            spike[begin] = True
    return spike
