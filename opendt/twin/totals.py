"""Running totals of a run: plain numbers that survive a restart."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.engine.base import SimulationResult
from opendt.twin.bands import EnergyErrors
from opendt.windows.batch import WindowBatch

F64 = NDArray[np.float64]


@dataclass(slots=True)
class ErrorSum:
    """Sum and count of absolute percentage errors."""

    total_pct: float = 0.0
    count: int = 0

    def add(self, predicted_w: F64, measured_w: F64) -> float | None:
        """Add a window's samples; returns that window's own mean [%], None without usable samples."""
        usable = np.isfinite(measured_w) & np.isfinite(predicted_w) & (measured_w > 0)
        if not usable.any():
            return None
        errors = np.abs(predicted_w[usable] - measured_w[usable]) / measured_w[usable] * 100
        self.total_pct += float(errors.sum())
        self.count += len(errors)
        return float(errors.mean())

    @property
    def mean_pct(self) -> float | None:
        """Mean absolute percentage error [%], None before the first sample."""
        return self.total_pct / self.count if self.count else None


@dataclass(slots=True)
class Totals:
    """What a run has seen and produced so far."""

    windows: int = 0
    tasks_seen: int = 0
    tasks_run: int = 0
    tasks_completed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    fragments: int = 0
    power_readings: int = 0
    late_records: int = 0
    duplicate_records: int = 0
    dead_letters: int = 0
    energy_j: float = 0.0
    energy_uncalibrated_j: float = 0.0
    energy_measured_j: float = 0.0
    carbon_g: float = 0.0
    peak_power_w: float = 0.0
    error: ErrorSum = field(default_factory=ErrorSum)
    uncalibrated_error: ErrorSum = field(default_factory=ErrorSum)
    persistence_error: ErrorSum = field(default_factory=ErrorSum)
    energy_errors: EnergyErrors = field(default_factory=EnergyErrors)

    def add_window(self, batch: WindowBatch, result: SimulationResult, row: dict[str, Any], simulated_w: F64) -> None:
        """Add one window: its batch, its result and its ``windows`` row."""
        self.windows += 1
        self.tasks_seen += len(batch.workload.tasks)
        self.tasks_run += result.tasks_started
        self.tasks_completed += result.tasks_completed
        self.fragments += len(batch.workload.fragments)
        self.power_readings += len(batch.power)
        self.late_records += len(batch.late)
        self.duplicate_records += batch.duplicates
        self.dead_letters += len(batch.dead)
        self.energy_j += row["energy_j"]
        self.energy_uncalibrated_j += row["energy_uncalibrated_j"]
        self.energy_measured_j += row["energy_measured_j"] or 0.0
        self.carbon_g += row["carbon_g"]
        self.peak_power_w = max(self.peak_power_w, float(np.max(simulated_w, initial=0.0)))
        self.drop("no fragments", int((batch.workload.tasks.fragment_count == 0).sum()))
        self.drop("fits no host", result.tasks_terminated)

    def drop(self, reason: str, count: int) -> None:
        """Count tasks that will never run."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    @property
    def tasks_dropped(self) -> int:
        """Tasks that will never run, over all reasons."""
        return sum(self.dropped.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values; inverse of ``from_dict``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Totals:
        """Totals from ``to_dict``."""
        sums = {name: ErrorSum(**data[name]) for name in ("error", "uncalibrated_error", "persistence_error")}
        return cls(**(data | sums | {"energy_errors": EnergyErrors(**data.get("energy_errors", {}))}))


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """One window in a few numbers, for progress displays and artifacts."""

    index: int
    start_ms: int
    end_ms: int
    tasks_arrived: int
    tasks_running: int
    tasks_waiting: int
    energy_kwh: float
    mape_pct: float | None
    persistence_mape_pct: float | None
    late_records: int
    dead_letters: int
    wall_ms: float
    last: bool


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in numbers: what ``opendt run --json`` prints."""

    run_id: str
    datacenter: str
    state: str
    windows: int
    windows_recomputed: int
    tasks_seen: int
    tasks_run: int
    tasks_dropped: int
    dropped: dict[str, int]
    fragments: int
    energy_kwh: float
    energy_low_kwh: float | None = field(default=None, kw_only=True)
    energy_high_kwh: float | None = field(default=None, kw_only=True)
    energy_uncalibrated_kwh: float
    energy_measured_kwh: float | None
    carbon_kg: float
    carbon_low_kg: float | None = field(default=None, kw_only=True)
    carbon_high_kg: float | None = field(default=None, kw_only=True)
    peak_power_kw: float
    mape_pct: float | None
    uncalibrated_mape_pct: float | None
    persistence_mape_pct: float | None
    late_records: int
    duplicate_records: int
    dead_letters: int
    proposals: int
    wall_s: float
    stages_s: dict[str, float]
    lake: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in order."""
        return asdict(self)
