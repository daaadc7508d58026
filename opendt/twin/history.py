"""What a datacenter did lately, from the lake: enough to try other power models without its trace.

Host samples say how utilised each host was; power samples what was measured. Together they are an occupancy on the
host grid (``engine.host_interval_s``) and a power series, the same inputs that calibration takes from a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from opendt.calibration.search import take_samples
from opendt.engine.base import Occupancy
from opendt.engine.native.layout import site_of
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology, parse_topology
from opendt.units import MS_PER_DAY

I64 = NDArray[np.int64]

KNOTS = 41

_LATEST = """
SELECT run_id FROM runs WHERE datacenter = ? AND kind IN ('pipeline', 'twin') AND windows > 0
ORDER BY started_ms DESC LIMIT 1"""
_WINDOWS = """
SELECT window_index, start_ms, end_ms, topology_version FROM windows
WHERE run_id = ? AND datacenter = ? ORDER BY window_index"""
_HOSTS = """
SELECT timestamp_ms, host_name, cpu_utilization_ratio, tasks_running FROM host_samples
WHERE run_id = ? AND datacenter = ? AND window_index >= ? ORDER BY timestamp_ms"""
_POWER = """
SELECT timestamp_ms, measured_w FROM power_samples
WHERE run_id = ? AND datacenter = ? AND window_index >= ? AND measured_w > 0 ORDER BY timestamp_ms"""


@dataclass(frozen=True, slots=True)
class History:
    """The last days of one run.

    Attributes:
        run_id: run it comes from.
        last_window: its last window.
        topology: the topology in force in that window, or put in force since.
        occupancy: how utilised its hosts were.
        measured: measured power.
    """

    run_id: str
    last_window: int
    topology: Topology
    occupancy: Occupancy
    measured: PowerSeries

    @property
    def from_ms(self) -> int:
        """First sample [epoch ms]."""
        return int(self.occupancy.timestamp_ms[0])

    @property
    def until_ms(self) -> int:
        """After the last sample [epoch ms]."""
        return int(self.occupancy.timestamp_ms[-1]) + 1

    def between(self, from_ms: int, until_ms: int) -> History:
        """The part in [from_ms, until_ms). Raises ``InputError`` when nothing is in it."""
        times = np.asarray(self.occupancy.timestamp_ms)
        inside = (times >= from_ms) & (times < until_ms)
        if not inside.any():
            raise InputError("the run has no host samples in the time asked for. Use a longer history.")
        read = (self.measured.timestamp_ms >= from_ms) & (self.measured.timestamp_ms < until_ms)
        measured = PowerSeries(self.measured.timestamp_ms[read], self.measured.power_w[read])
        return History(self.run_id, self.last_window, self.topology, take_samples(self.occupancy, inside), measured)


def read_history(
    lake: Lake, datacenter: str, *, days: float, run_id: str = "", active: Topology | None = None
) -> History:
    """The last ``days`` of a run, by trace time, as far as they ran on the same hosts.

    Args:
        run_id: which run; empty for the latest pipeline or twin of the datacenter.
        active: the topology that people or calibration put in force since; used where it has the run's hosts.

    Raises:
        InputError: no such run, or it has no host samples or measured power.
    """
    found = run_id or _latest(lake, datacenter)
    windows = lake.rows(_WINDOWS, [found, datacenter])
    if not windows:
        raise InputError(f"run {found} of datacenter {datacenter} has no windows in the lake.", run_id=found)
    last = windows[-1]
    topology = _topology(lake, datacenter, last["topology_version"])
    first = _first_window(lake, datacenter, windows, topology, last["end_ms"] - round(days * MS_PER_DAY))
    occupancy = _occupancy(lake, found, datacenter, first, topology)
    power = lake.query(_POWER, [found, datacenter, first])
    measured = PowerSeries(
        np.asarray(power["timestamp_ms"], np.int64), np.asarray(power["measured_w"], np.float64)
    )  # fmt: skip
    if not len(measured):
        raise InputError(
            f"run {found} has no measured power, so there is nothing to calibrate on. Send power readings to the "
            "power topic, or replay a trace with consumption.parquet.",
            run_id=found,
        )
    if active is not None and site_of(active).host_names == site_of(topology).host_names:
        topology = active
    return History(found, last["window_index"], topology, occupancy, measured)


def _latest(lake: Lake, datacenter: str) -> str:
    rows = lake.rows(_LATEST, [datacenter])
    if not rows:
        raise InputError(
            f"datacenter {datacenter} has no run in the lake to learn from. Run `opendt run --trace DIR` or the twin.",
            datacenter=datacenter,
        )
    return str(rows[0]["run_id"])


def _topology(lake: Lake, datacenter: str, version: str) -> Topology:
    rows = lake.rows("SELECT topology_json FROM topologies WHERE datacenter = ? AND version = ?", [datacenter, version])
    if not rows:
        raise InputError(f"the lake does not know topology {version} of datacenter {datacenter}.", version=version)
    return parse_topology(orjson.loads(rows[0]["topology_json"]), f"topology {version}")


def _first_window(
    lake: Lake, datacenter: str, windows: list[dict[str, int | str]], topology: Topology, since_ms: int
) -> int:
    """The first window from ``since_ms`` on after which the hosts were those of ``topology``."""
    names = site_of(topology).host_names
    same: dict[str, bool] = {topology.version: True}
    first = int(windows[-1]["window_index"])
    for window in reversed(windows):
        version = str(window["topology_version"])
        if version not in same:
            same[version] = site_of(_topology(lake, datacenter, version)).host_names == names
        if not same[version] or int(window["end_ms"]) <= since_ms:
            break
        first = int(window["window_index"])
    return first


def _occupancy(lake: Lake, run_id: str, datacenter: str, first: int, topology: Topology) -> Occupancy:
    table = lake.query(_HOSTS, [run_id, datacenter, first])
    if not table.num_rows:
        raise InputError(
            f"run {run_id} has no host samples. Set engine.host_interval_s above 0 and run again.", run_id=run_id
        )
    site = site_of(topology)
    index = {name: number for number, name in enumerate(site.host_names)}
    hosts = np.array([index.get(name, -1) for name in table["host_name"].to_pylist()], np.int64)
    known = hosts >= 0  # hosts that a topology change left to drain have no group any more
    times, sample = np.unique(np.asarray(table["timestamp_ms"], np.int64)[known], return_inverse=True)
    group = site.group_of[hosts[known]]
    used = np.clip(np.asarray(table["cpu_utilization_ratio"], np.float64)[known], 0.0, 1.0) * (KNOTS - 1)
    low = np.minimum(used.astype(np.int64), KNOTS - 2)
    share = used - low
    weights = np.zeros((len(times), len(site.groups), KNOTS))
    np.add.at(weights, (sample, group, low), 1.0 - share)
    np.add.at(weights, (sample, group, low + 1), share)
    active = np.zeros((len(times), len(site.groups)))
    np.add.at(active, (sample, group), np.asarray(table["tasks_running"], np.int64)[known] > 0)
    flat = weights.astype(np.float32)
    return Occupancy(times, np.linspace(0.0, 1.0, KNOTS), site.groups, flat, flat, active)
