"""The task stopper of the timeshift policy: pauses running tasks in times of high carbon (SEMANTICS 10.4)."""

from __future__ import annotations

from typing import Any

from opendt.engine.native.exact.flow import PAUSE, Agenda
from opendt.engine.native.exact.power import CarbonModel
from opendt.engine.native.exact.scheduler import quantile
from opendt.engine.native.exact.service import Host, Service


class Stopper:
    """Compares each new intensity with a quantile of the forecast, or with the mean of the past."""

    __slots__ = ("agenda", "carbon", "forecast", "past", "service", "share", "size", "window")

    def __init__(self, service: Service, carbon: CarbonModel, agenda: Agenda, options: dict[str, Any]) -> None:
        self.service = service
        self.carbon = carbon
        self.agenda = agenda
        self.forecast = bool(options.get("forecast", True))
        self.share = float(options.get("forecastThreshold", 0.6))
        self.size = int(options.get("forecastSize", 24))
        self.window = int(options.get("windowSize", 168))
        self.past: list[float] = []

    def on_carbon(self, intensity: float) -> None:
        """The carbon intensity changed."""
        if self.forecast:
            threshold = quantile(sorted(self.carbon.forecast(self.size)), self.share)
        else:
            self.past = [*self.past, intensity][-self.window :]
            threshold = sum(self.past) / len(self.past)
        if intensity > threshold and self.service.flow.now > 0:  # nothing runs yet when the first value is told
            self.agenda.add(self.service.flow.now, PAUSE)

    def pause(self, hosts: list[Host]) -> None:
        """Save and pause every running task; all go to the front of the queue."""
        for host in hosts:
            for task in host.running:
                if task.execution is not None:
                    task.execution.snapshot(self.service.flow.now)
            self.service.evict(host, "PAUSED")
