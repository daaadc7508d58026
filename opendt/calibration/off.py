"""No calibration: the topology's own power models hold in every window."""

from __future__ import annotations

from opendt.calibration.base import CalibrationOutcome, price_prediction
from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.power.pricing import group_models, topology_groups


def uncalibrated(topology: Topology) -> CalibrationOutcome:
    """The outcome while nothing is known: the topology as given."""
    groups = topology_groups(topology)
    models = group_models(topology, groups)
    return CalibrationOutcome(None, models, groups, price_prediction(models))


class NoCalibrator:
    """Keeps the topology's parameters and remembers nothing."""

    method = "off"

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def params_for(self, window_start_ms: int) -> CalibrationOutcome:
        """The topology as given."""
        return uncalibrated(self._topology)

    def observe(self, occupancy: Occupancy | None, measured: PowerSeries) -> None:
        """Nothing is learned."""

    def use_topology(self, topology: Topology) -> None:
        """Price with another topology from now on."""
        self._topology = topology

    def to_bytes(self) -> bytes:
        """No state."""
        return b"{}"
