"""What an approved proposal brought: predicted against realised energy, from the windows in the lake.

Later windows carry other work than earlier ones, so they are not compared directly. Energy per window is fitted as a
line over delivered work in the windows before the change; the line says what the later windows would have drawn under
the old topology, and the proposal's predicted ratio what they should have drawn under the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from opendt.models.topology import parse_topology
from opendt.optimize.decisions import Desk, list_proposals, record
from opendt.store import Decision, copy_events

VERIFY_WINDOWS = 3  # full windows under the new topology before a verdict
BEFORE_WINDOWS = 48

_WINDOWS = """
SELECT w.window_index, w.topology_version, w.energy_j / 3.6e6 AS energy_kwh,
       avg(p.utilization_ratio) AS utilization_ratio, (w.end_ms - w.start_ms) / 1000.0 AS length_s, t.topology_json
FROM windows w JOIN power_samples p USING (run_id, datacenter, window_index)
LEFT JOIN topologies t ON t.datacenter = w.datacenter AND t.version = w.topology_version
WHERE w.run_id = ? AND w.datacenter = ?
GROUP BY ALL ORDER BY w.window_index"""


@dataclass(frozen=True, slots=True)
class Realised:
    """Energies over the windows since the change [kWh]; ``expected`` is without the change, ``predicted`` with it."""

    windows: int
    expected_kwh: float
    predicted_kwh: float
    realised_kwh: float

    def in_words(self) -> str:
        """The comparison in one sentence."""
        return (
            f"over {self.windows} windows {self.realised_kwh:.4g} kWh instead of {self.expected_kwh:.4g} kWh "
            f"without the change: saved {self.expected_kwh - self.realised_kwh:.4g} kWh, "
            f"predicted {self.expected_kwh - self.predicted_kwh:.4g} kWh"
        )


def follow_up(desk: Desk, run_id: str) -> list[Decision]:
    """Move approved proposals on: ``applied`` when a window of the run used their topology, ``verified`` with the
    realised effect after ``VERIFY_WINDOWS`` of them. Call it after windows were committed; cheap when nothing waits."""
    waiting = [
        row for state in ("approved", "applied")
        for row in list_proposals(desk.lake, desk.datacenter, state=state, limit=1000)
    ]  # fmt: skip
    if not waiting:
        return []
    windows = desk.lake.rows(_WINDOWS, [run_id, desk.datacenter])
    decisions = [decision for row in waiting for decision in _follow(desk, row, windows)]
    if decisions:
        copy_events(desk.store, desk.lake)
    return decisions


def _follow(desk: Desk, row: dict[str, Any], windows: list[dict[str, Any]]) -> list[Decision]:
    version = parse_topology(orjson.loads(row["topology_json"])).version
    before, under = _around(windows, version)
    if not under:
        return []
    decisions = []
    if row["state"] == "approved":
        reason = f"in force from window {under[0]['window_index']}"
        decisions.append(record(desk, row, "applied", reason, topology_version=version))
        row = row | {"state": "applied"}
    found = realised(row, before, under)
    if found is not None:
        decisions.append(
            record(
                desk, row, "verified", found.in_words(), topology_version=version,
                predicted_energy_kwh=found.predicted_kwh, realised_energy_kwh=found.realised_kwh,
            )
        )  # fmt: skip
    return decisions


def realised(row: dict[str, Any], before: list[dict[str, Any]], under: list[dict[str, Any]]) -> Realised | None:
    """The comparison, None while there are too few windows or the proposal was never simulated."""
    if len(under) < VERIFY_WINDOWS or not before or not row["baseline_energy_kwh"] or row["energy_kwh"] is None:
        return None
    energy = np.array([w["energy_kwh"] for w in before])
    expected = float(_line(_work(before), energy, _work(under)).sum())
    ratio = row["energy_kwh"] / row["baseline_energy_kwh"]
    return Realised(len(under), expected, expected * ratio, float(sum(w["energy_kwh"] for w in under)))


def _around(windows: list[dict[str, Any]], version: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(windows before the first one under a topology, windows under it); those before share one topology."""
    first = next((i for i, w in enumerate(windows) if w["topology_version"] == version), None)
    if first is None:
        return [], []
    before = [w for w in windows[:first] if w["topology_version"] == windows[first - 1]["topology_version"]]
    usable = [w for w in before if w["topology_json"] is not None]
    return usable[-BEFORE_WINDOWS:], [w for w in windows[first:] if w["topology_version"] == version]


def _work(windows: list[dict[str, Any]]) -> np.ndarray:
    """Delivered work per window [MHz·s]."""
    return np.array([w["utilization_ratio"] * _capacity_mhz(w["topology_json"]) * w["length_s"] for w in windows])


def _capacity_mhz(topology_json: str) -> float:
    topology = parse_topology(orjson.loads(topology_json))
    return sum(host.count * host.capacity_mhz for cluster in topology.clusters for host in cluster.hosts)


def _line(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Least-squares line through (x, y), evaluated at ``at``; the mean where x hardly varies."""
    if len(x) < 3 or np.ptp(x) < 0.05 * max(1e-9, float(np.abs(x).max())):
        return np.full(len(at), float(y.mean()))
    slope, offset = np.polyfit(x, y, 1)
    return slope * at + offset
