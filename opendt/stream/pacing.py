"""The clock of a replay: when a record is due, how far behind the sender is, pauses."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests pass their own, so that they never sleep."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""

    def wall_ms(self) -> int:
        """Wall clock, epoch ms."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Wall clock, epoch ms."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Pacer:
    """Maps event time to the clock: ``speed`` trace seconds per second, not positive for as fast as possible.

    The first record asked for sets the start. Threads may share one.
    """

    def __init__(self, speed: float, clock: Clock) -> None:
        self._speed, self._clock = speed, clock
        self._origin: tuple[int, float] | None = None
        self._paused_at: float | None = None
        self._lock = threading.Lock()
        self.max_lag_s = 0.0
        self.lag_s = 0.0

    def wait_s(self, time_ms: int) -> float:
        """Seconds until a record is due; 0 when it is due or late, and then the lag is noted."""
        with self._lock:
            now = self._clock.monotonic()
            if self._paused_at is not None:
                return 0.05
            if self._speed <= 0:
                return 0.0
            if self._origin is None:
                self._origin = (time_ms, now)
            due = self._origin[1] + (time_ms - self._origin[0]) / 1000 / self._speed
            if due > now:
                return due - now
            self.lag_s = now - due
            self.max_lag_s = max(self.max_lag_s, self.lag_s)
            return 0.0

    def pause(self) -> None:
        """Hold everything back until ``resume``; the pause is not counted as lag."""
        with self._lock:
            if self._paused_at is None:
                self._paused_at = self._clock.monotonic()

    def resume(self) -> None:
        """Go on after ``pause``."""
        with self._lock:
            if self._paused_at is not None and self._origin is not None:
                shift = self._clock.monotonic() - self._paused_at
                self._origin = (self._origin[0], self._origin[1] + shift)
            self._paused_at = None
