"""When the model stopped describing the cluster: since when, how large, which hours and hosts carry it.

A two-sided cumulative sum over quarter-hour means of the relative error of the slowest expert, in units of their usual
spread over the last day. Means are clipped, so that one wild quarter of an hour cannot raise an alarm by itself, and
small changes (below ``LEAST_SIZE``) are left to forgetting.

References: [1] E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), doi:10.1093/biomet/41.1-2.100.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.units import MS_PER_HOUR

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BLOCK_MS = 900_000
BASELINE_BLOCKS = 96
LEAST_BLOCKS = 8
LEAST_SPREAD = 0.002
ALLOWANCE = 1.0
THRESHOLD = 8.0  # for independent errors; more where they go together
MOST_CORRELATION = 0.8
CLIP = 4.0
LEAST_SIZE = 0.015


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """A change of the cluster.

    Attributes:
        since_ms: when it began, to a quarter of an hour [epoch ms].
        found_ms: when it was found [epoch ms].
        size_pct: measured against predicted power since then [%].
        groups: the same per host group, where there are several [%].
        hours: hours of the day (UTC) in which it is largest, at most three.
    """

    since_ms: int
    found_ms: int
    size_pct: float
    groups: dict[str, float] = field(default_factory=dict)
    hours: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of the fields."""
        return asdict(self)


class DriftDetector:
    """Watches block means of relative errors. State is plain numbers."""

    def __init__(self) -> None:
        self.baseline: list[float] = []
        self.sums = [0.0, 0.0]  # upward, downward
        self.onset_ms: list[int | None] = [None, None]

    def update(self, timestamp_ms: I64, error: F64) -> int | None:
        """Add a window's relative errors; returns the onset [epoch ms] of a change found in it, else None."""
        found = None
        blocks = timestamp_ms // BLOCK_MS
        for block in np.unique(blocks):
            mean = float(np.median(error[blocks == block]))
            if found is None and len(self.baseline) >= LEAST_BLOCKS:
                found = self._accumulate(int(block) * BLOCK_MS, mean)
            if self.onset_ms == [None, None] or abs(mean - self._centre()) < 3 * self._spread():
                self.baseline = [*self.baseline, mean][-BASELINE_BLOCKS:]
        return found

    def _centre(self) -> float:
        return float(np.median(self.baseline)) if self.baseline else 0.0

    def _spread(self) -> float:
        if not self.baseline:
            return LEAST_SPREAD
        return max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(np.array(self.baseline) - self._centre()))))

    def _accumulate(self, block_ms: int, mean: float) -> int | None:
        z = (mean - self._centre()) / self._spread()
        for side, signed in enumerate((z, -z)):
            self.sums[side] = max(0.0, self.sums[side] + min(signed, CLIP) - ALLOWANCE)
            if self.sums[side] == 0.0:
                self.onset_ms[side] = None
            elif self.onset_ms[side] is None:
                self.onset_ms[side] = block_ms
        worst = int(self.sums[1] > self.sums[0])
        large = abs(mean - self._centre()) >= LEAST_SIZE
        return self.onset_ms[worst] if self.sums[worst] > self._threshold() and large else None

    def _threshold(self) -> float:
        """Errors of neighbouring blocks that go together pile up without any change: ``(1 + r) / (1 - r)`` as much."""
        centred = np.array(self.baseline) - self._centre()
        limit = 3 * self._spread()
        centred = np.clip(centred, -limit, limit)
        power = float(centred @ centred)
        r = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
        r = min(max(r, 0.0), MOST_CORRELATION)
        return THRESHOLD * (1 + r) / (1 - r)

    def restart(self) -> None:
        """Begin anew after a change was found and taken into account."""
        self.__init__()  # type: ignore[misc]

    def to_json(self) -> dict[str, Any]:
        """JSON value; inverse of ``from_json``."""
        return {"baseline": self.baseline, "sums": self.sums, "onset_ms": self.onset_ms}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DriftDetector:
        """A detector from ``to_json``."""
        detector = cls()
        detector.baseline, detector.sums = value["baseline"], value["sums"]
        detector.onset_ms = value["onset_ms"]
        return detector


def describe_drift(
    since_ms: int, found_ms: int, timestamp_ms: I64, error: F64, group_power_w: F64, names: tuple[str, ...]
) -> DriftEvent:
    """The event: its size, and what carries it.

    Args:
        since_ms, found_ms: when it began and was found [epoch ms].
        timestamp_ms, error: samples of the window in which it was found, relative errors (n,).
        group_power_w: predicted power per host group [W], shape (n, groups).
        names: names of the groups.
    """
    after = timestamp_ms >= since_ms
    after = after if after.any() else np.ones(len(error), np.bool_)
    size = float(np.median(error[after]))
    groups: dict[str, float] = {}
    if len(names) > 1:
        share = group_power_w[after] / np.maximum(group_power_w[after].sum(axis=1, keepdims=True), 1e-9)
        ridge = 0.01 * len(share) * np.eye(len(names))
        found = np.linalg.solve(share.T @ share + ridge, share.T @ error[after] + ridge @ np.full(len(names), size))
        groups = {name: round(float(change) * 100, 2) for name, change in zip(names, found, strict=True)}
    hours = (timestamp_ms[after] // MS_PER_HOUR) % 24
    mean = {int(h): abs(float(np.mean(error[after][hours == h]))) for h in np.unique(hours)}
    top = tuple(sorted(sorted(mean, key=lambda h: -mean[h])[:3]))
    return DriftEvent(since_ms, found_ms, round(size * 100, 2), groups, top)
