"""When hosts fail (SEMANTICS 10.1): recorded failures, and distributions drawn with our own seeded generator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opendt.engine.native.exact.prefabs import PREFABS
from opendt.errors import ConfigError, TraceError

HOUR_MS = 3.6e6
Failure = tuple[int, int, float]  # interval [ms], duration [ms], share of the hosts


class Failures:
    """The failures to come. ``down`` holds the hosts that are down now, by index.

    Hosts are drawn with our own generator: OpenDC shuffles with an unseeded one, so that only failures of all hosts
    can be compared.
    """

    __slots__ = ("at", "down", "failures", "repeat", "seed", "struck")

    def __init__(self, failures: list[Failure], *, repeat: bool, seed: int) -> None:
        self.failures = failures
        self.repeat = repeat
        self.at = 0
        self.down: list[int] = []
        self.seed = seed
        self.struck = 0

    @property
    def over(self) -> bool:
        """Whether no failure will come any more and no host is down."""
        return self.at >= len(self.failures) and not self.down

    def interval_ms(self) -> int | None:
        """Time to the next failure, None when there is none."""
        return self.failures[self.at][0] if self.at < len(self.failures) else None

    def strike(self, hosts: int) -> int:
        """Choose victims among ``hosts`` hosts; returns how long they stay down [ms]."""
        _, duration, share = self.failures[self.at]
        count = int(np.floor(hosts * min(max(share, 0.0), 1.0) + 0.5))
        rng = np.random.default_rng((self.seed, 2, self.struck))
        self.struck += 1
        order = rng.permutation(hosts) if count < hosts else np.arange(hosts)
        self.down = sorted(int(h) for h in order[:count])
        return duration

    def heal(self) -> list[int]:
        """The hosts that come back; the next failure follows."""
        back, self.down = self.down, []
        self.at += 1
        if self.repeat and self.at >= len(self.failures):
            self.at = 0
        return back


def new_failures(model: dict[str, Any] | None, seed: int) -> Failures | None:
    """Failures of an OpenDC failure model object, None when there are none.

    Raises ``ConfigError`` for an unknown model and ``TraceError`` for a file that cannot be used.
    """
    kind = (model or {}).get("type", "no")
    if model is None or kind == "no":
        return None
    if kind == "trace-based":
        failures = read_failures(Path(model["pathToFile"]), float(model.get("startPoint", 0.0)))
        repeat = bool(model.get("repeat", True))
        if repeat and not any(interval + duration for interval, duration, _ in failures):
            raise ConfigError(
                f"{model['pathToFile']}: failures without any interval or duration would repeat for ever."
            )
        return Failures(failures, repeat=repeat, seed=seed)
    if kind == "prefab":
        name = model.get("prefabName")
        if name not in PREFABS:
            raise ConfigError(f"failure prefab '{name}' is unknown; use one of {', '.join(PREFABS)}.", value=name)
        samplers: dict[str, Any] = PREFABS[name]
    elif kind == "custom":
        samplers = {part: model[part] for part in ("iatSampler", "durationSampler", "nohSampler")}
    else:
        raise ConfigError(f"failure model '{kind}' is unknown; use no, trace-based, prefab or custom.", value=kind)
    rng = np.random.default_rng((seed, 1))
    wait, share, duration = (draw(samplers[part], rng) for part in ("iatSampler", "nohSampler", "durationSampler"))
    # OpenDC's sampled models cause a single failure per run.
    single = (round(max(wait, 0.0) * HOUR_MS), int(max(duration, 0.0) * HOUR_MS), min(max(share, 0.0), 1.0))
    return Failures([single], repeat=False, seed=seed)


def read_failures(path: Path, start: float) -> list[Failure]:
    """Rows of a failure trace, rotated so that it begins at the share ``start`` of its rows."""
    try:
        table = pq.read_table(path)
        columns = [table[name].to_pylist() for name in ("failure_interval", "failure_duration", "failure_intensity")]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise TraceError(f"{path}: cannot be read as a failure trace ({error}).", file=str(path)) from None
    rows = [(int(i), int(d), float(share)) for i, d, share in zip(*columns, strict=True)]
    for row, (interval, duration, share) in enumerate(rows):
        if interval < 0 or duration < 0 or not 0.0 < share <= 1.0:
            raise TraceError(
                f"{path} row {row}: interval {interval}, duration {duration}, intensity {share}; times must be at "
                "least 0 and the intensity above 0 and at most 1.",
                file=str(path), row=row,
            )  # fmt: skip
    first = int(len(rows) * start)
    return rows[first:] + rows[:first]


_NEEDED = {
    "constant": ("value",), "exponential": ("mean",), "gamma": ("shape", "scale"), "log-normal": ("scale", "shape"),
    "normal": ("mean", "std"), "pareto": ("scale", "shape"), "uniform": ("upper", "lower"),
    "weibull": ("alpha", "beta"),
}  # fmt: skip


def draw(distribution: dict[str, Any], rng: np.random.Generator) -> float:
    """One value of a distribution object of the experiment format, in its unit.

    Raises ``ConfigError`` for an unknown distribution or a missing parameter.
    """
    kind = distribution.get("type", "")
    if kind not in _NEEDED:
        raise ConfigError(f"distribution '{kind}' is unknown; use one of {', '.join(_NEEDED)}.", value=kind)
    try:
        a, *rest = (float(distribution[name]) for name in _NEEDED[kind])
    except KeyError as error:
        raise ConfigError(f"distribution {kind} needs {', '.join(_NEEDED[kind])}; {error} is missing.") from None
    return float(next(_draw(kind, a, rest[0] if rest else 0.0, rng)))


def _draw(kind: str, a: float, b: float, rng: np.random.Generator) -> Iterator[float]:
    if kind == "constant":
        yield a
    elif kind == "exponential":
        yield rng.exponential(a)
    elif kind == "gamma":
        yield rng.gamma(a, b)
    elif kind == "log-normal":
        yield rng.lognormal(a, b)
    elif kind == "normal":
        yield rng.normal(a, b)
    elif kind == "pareto":
        yield a * (1.0 + rng.pareto(b))
    elif kind == "uniform":
        yield rng.uniform(b, a)
    else:
        yield b * rng.weibull(a)
