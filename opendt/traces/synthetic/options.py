"""What to generate."""

from __future__ import annotations

from dataclasses import dataclass

from opendt.errors import ConfigError
from opendt.units import MS_PER_DAY, MS_PER_HOUR, MS_PER_S

CURVES = (
    "active", "step", "piecewise", "mse", "linear", "sqrt", "square", "cubic", "asymptotic", "constant",
)  # fmt: skip
MONDAY_2024_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
TASKS_PER_HOST_DAY = 4.05  # of the SURF week: 7,850 tasks on 277 hosts in 7 days


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """A synthetic cluster. The same options give the same bytes.

    Attributes:
        days: length [days].
        hosts: number of hosts.
        seed: seed of every random choice.
        cores: cores of a host.
        core_speed_mhz: speed of a core [MHz].
        interval_s: length of fragments and spacing of power samples [s].
        curve: hidden power curve, one of ``CURVES``; ``step`` is an ``active`` curve that is nearly all step.
        noise_pct: standard deviation of the meter's noise, relative to power [%].
        drift_at_hour: hour at which the hidden curve changes; None for never.
        drift_pct: change of power from then on [%].
        gaps: number of periods of 5 to 60 minutes without power samples.
        host_types: number of host types with curves of their own.
        tasks_per_day: submitted tasks; None for as many per host as in the SURF week.
        start_ms: begin [epoch ms].
    """

    days: float = 7.0
    hosts: int = 277
    seed: int = 0
    cores: int = 16
    core_speed_mhz: float = 2100.0
    interval_s: int = 30
    curve: str = "active"
    noise_pct: float = 0.5
    drift_at_hour: float | None = None
    drift_pct: float = 0.0
    gaps: int = 0
    host_types: int = 1
    tasks_per_day: float | None = None
    start_ms: int = MONDAY_2024_MS

    def __post_init__(self) -> None:
        self._check("days", self.days, 0.01, 3660)
        self._check("hosts", self.hosts, 1, 100_000)
        self._check("seed", self.seed, 0, 2**63 - 1)
        self._check("cores", self.cores, 1, 4096)
        self._check("core_speed_mhz", self.core_speed_mhz, 1, 100_000)
        self._check("interval_s", self.interval_s, 1, min(3600, self.days * 86_400))
        self._check("noise_pct", self.noise_pct, 0, 50)
        self._check("drift_pct", self.drift_pct, -90, 1000)
        self._check("gaps", self.gaps, 0, 10_000)
        self._check("host_types", self.host_types, 1, self.hosts)
        if self.tasks_per_day is not None:
            self._check("tasks_per_day", self.tasks_per_day, 1 / self.days, 10_000_000)
        if self.drift_at_hour is not None:
            self._check("drift_at_hour", self.drift_at_hour, 0, self.days * 24)
        if self.curve not in CURVES:
            raise ConfigError(f"curve is {self.curve!r}; must be one of {', '.join(CURVES)}.", setting="curve")

    def _check(self, name: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value:g}; must be {low:g} to {high:g}.", setting=name)

    @property
    def interval_ms(self) -> int:
        """Length of fragments and spacing of samples [ms]."""
        return self.interval_s * MS_PER_S

    @property
    def end_ms(self) -> int:
        """End [epoch ms], exclusive."""
        return self.start_ms + round(self.days * MS_PER_DAY)

    @property
    def drift_ms(self) -> int | None:
        """When the hidden curve changes [epoch ms]."""
        if self.drift_at_hour is None or not self.drift_pct:
            return None
        return self.start_ms + round(self.drift_at_hour * MS_PER_HOUR)

    @property
    def task_count(self) -> int:
        """Tasks submitted in all."""
        per_day = TASKS_PER_HOST_DAY * self.hosts if self.tasks_per_day is None else self.tasks_per_day
        return max(1, round(per_day * self.days))
