"""Small topologies and outcomes for the tests of this area."""

from __future__ import annotations

from typing import Any

from opendt.models.topology import Topology, parse_topology
from opendt.optimize.outcome import Outcome


def topology(
    *counts: int, cores: int = 16, speed: float = 2100.0, idle: float = 100.0, most: float = 200.0
) -> Topology:
    """One cluster ``C01`` with host types ``H01``, ``H02`` ... of these counts, linear power."""
    hosts = [
        {
            "name": f"H{i + 1:02d}",
            "count": count,
            "cpu": {"coreCount": cores, "coreSpeed": speed},
            "memory": {"memorySize": 100_000},
            "cpuPowerModel": {"modelType": "linear", "idlePower": idle, "maxPower": most},
        }
        for i, count in enumerate(counts or (10,))
    ]
    return parse_topology({"clusters": [{"name": "C01", "hosts": hosts}]})


def outcome(energy_kwh: float = 100.0, runtime_h: float = 24.0, **values: Any) -> Outcome:
    """An outcome with plausible values where none is given."""
    base: dict[str, Any] = {"carbon_kg": 30.0, "peak_power_kw": 8.0, "queue_delay_s": 1.0, "tasks_completed": 100}
    return Outcome(energy_kwh=energy_kwh, runtime_h=runtime_h, **(base | values))
