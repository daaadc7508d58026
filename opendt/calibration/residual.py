"""What the curves leave over: the errors of the last hour, and meters that speak late.

Two effects remain after the best curve. Something the twin cannot see (fans, a rack of another kind) keeps the power
a little above or below for a while: the errors of the last hour tell, and fade with a horizon. And meters hold or
average their readings: the power then follows the occupancy of some minutes ago. Both are linear in a few features;
their coefficients are learned walk-forward from earlier windows, starting near "half of the last hour's error".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.calibration.state import pack, unpack
from opendt.units import MS_PER_HOUR

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

HALF_LIFE_H = 168.0
# (span of past errors averaged [h], rate at which their effect fades [1/h])
TAILS = ((1.0, 0.5), (1 / 6, 4.0))
LAGS = (1, 2, 4, 8)  # samples
PRIOR = np.array([0.3, 0.2] + [0.0] * len(LAGS))
RIDGE = 30.0


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the last window: times [epoch ms] and relative errors of its samples, and its last predictions [W]."""

    timestamp_ms: I64
    error: F64
    power_w: F64


def empty_tail() -> Tail:
    """Nothing remembered."""
    return Tail(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def features(tail: Tail, timestamp_ms: I64, power_w: F64) -> F64:
    """What may explain the error of predictions ``power_w`` [W] at ``timestamp_ms``, shape (n, len(PRIOR))."""
    n = len(timestamp_ms)
    columns = np.zeros((n, len(PRIOR)))
    if len(tail.timestamp_ms):
        last = tail.timestamp_ms[-1]
        ahead_h = np.maximum(timestamp_ms - last, 0) / MS_PER_HOUR
        for column, (span_h, rate) in enumerate(TAILS):
            recent = tail.error[tail.timestamp_ms > last - span_h * MS_PER_HOUR]
            columns[:, column] = recent.mean() * np.exp(-rate * ahead_h)
    before = max(LAGS)
    padded = np.concatenate([np.full(before, np.nan), tail.power_w, power_w])
    for column, lag in enumerate(LAGS, start=len(TAILS)):
        earlier = padded[len(padded) - n - lag : len(padded) - lag]
        usable = np.isfinite(earlier) & (power_w > 0)
        columns[usable, column] = earlier[usable] / power_w[usable] - 1.0
    return columns


class Corrector:
    """Discounted least squares of relative errors on ``features``."""

    def __init__(self) -> None:
        self.gram: F64 = np.zeros((len(PRIOR), len(PRIOR)))
        self.moment: F64 = np.zeros(len(PRIOR))
        self.tail = empty_tail()

    def forget(self, elapsed_ms: int) -> None:
        """Let time pass [ms]."""
        keep = 0.5 ** (elapsed_ms / MS_PER_HOUR / HALF_LIFE_H)
        self.gram *= keep
        self.moment *= keep

    def add(self, columns: F64, error: F64, weight: F64) -> None:
        """Add relative errors (n,) with their features (n, p) and weights (n,)."""
        weighted = columns * weight[:, None]
        self.gram += weighted.T @ columns
        self.moment += weighted.T @ error

    def remember(self, timestamp_ms: I64, error: F64, power_w: F64) -> None:
        """Keep the last hour's errors (at ``timestamp_ms``) and the last predictions [W]."""
        times = np.concatenate([self.tail.timestamp_ms, timestamp_ms])
        errors = np.concatenate([self.tail.error, error])
        recent = times > times[-1] - MS_PER_HOUR if len(times) else np.zeros(0, np.bool_)
        power = np.concatenate([self.tail.power_w, power_w])[-max(LAGS) :]
        self.tail = Tail(times[recent], errors[recent], power)

    def forget_errors(self) -> None:
        """Drop the remembered errors, as after a change of the cluster."""
        self.tail = Tail(np.zeros(0, np.int64), np.zeros(0), self.tail.power_w)

    def coefficients(self) -> F64:
        """Share of each feature that carries over, shape (p,)."""
        ridge = RIDGE * np.eye(len(PRIOR))
        return np.linalg.solve(self.gram + ridge, self.moment + ridge @ PRIOR)

    def to_json(self) -> dict[str, Any]:
        """JSON value; inverse of ``from_json``."""
        tail = {"timestamp_ms": pack(self.tail.timestamp_ms), "error": pack(self.tail.error)}
        return {
            "gram": pack(self.gram),
            "moment": pack(self.moment),
            "tail": tail | {"power_w": pack(self.tail.power_w)},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Corrector:
        """A corrector from ``to_json``."""
        corrector = cls()
        corrector.gram, corrector.moment = unpack(value["gram"]), unpack(value["moment"])
        tail = value["tail"]
        corrector.tail = Tail(unpack(tail["timestamp_ms"]), unpack(tail["error"]), unpack(tail["power_w"]))
        return corrector
