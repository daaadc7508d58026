"""A small cluster whose true power curve the tests know and the calibrators do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import PowerModel, Topology, parse_topology
from opendt.power.pricing import group_models, price, topology_groups, with_group_models

HOUR = 3_600_000
SAMPLE = 30_000


@dataclass(frozen=True)
class World:
    """Occupancy per hourly window and the readings that belong to it."""

    topology: Topology
    windows: tuple[Occupancy, ...]
    readings: tuple[PowerSeries, ...]

    def start_ms(self, window: int) -> int:
        return window * HOUR


def make_topology(model: dict[str, Any] | None = None, types: int = 1, hosts: int = 40) -> Topology:
    power = model or {"modelType": "mse", "idlePower": 50, "maxPower": 200, "calibrationFactor": 2}
    host = {"cpu": {"coreCount": 8, "coreSpeed": 2000}, "memory": {"memorySize": 64_000}, "cpuPowerModel": power}
    entries = [{"name": f"T{t}", "count": hosts, **host} for t in range(types)]
    return parse_topology({"clusters": [{"name": "C", "hosts": entries}]})


def make_occupancy(utilization: np.ndarray, start_ms: int, knots: int = 33) -> Occupancy:
    """Occupancy of hosts at ``utilization`` (sample, group, host), a sample each 30 s."""
    samples, groups, _ = utilization.shape
    position = utilization * (knots - 1)
    left = np.minimum(position.astype(int), knots - 2)
    weights = np.zeros((samples, groups, knots), np.float32)
    at_sample, at_group, _ = np.indices(utilization.shape)
    np.add.at(weights, (at_sample, at_group, left), left + 1 - position)
    np.add.at(weights, (at_sample, at_group, left + 1), position - left)
    return Occupancy(
        timestamp_ms=start_ms + np.arange(samples, dtype=np.int64) * SAMPLE,
        knots=np.linspace(0, 1, knots),
        groups=tuple((0, g) for g in range(groups)),
        weights=weights,
        mean_weights=weights,
        active_hosts=(utilization > 0).sum(axis=2),
    )


def make_utilization(rng: np.random.Generator, samples: int, groups: int, hosts: int) -> np.ndarray:
    """Hosts that start and stop tasks now and then, each task with a level of its own and some wobble."""
    level = np.zeros((groups, hosts))
    rows = []
    for _ in range(samples):
        change = rng.random((groups, hosts)) < 0.01
        fresh = np.where(rng.random((groups, hosts)) < 0.35, 0.0, rng.beta(1.5, 1.0, (groups, hosts)))
        level = np.where(change, fresh, level)
        wobble = rng.normal(0, 0.02, (groups, hosts))
        rows.append(np.where(level > 0, np.clip(level + wobble, 0.005, 1), 0.0))
    return np.array(rows)


def make_world(
    hours: int = 12,
    truth: dict[str, Any] | None = None,
    types: int = 1,
    hosts: int = 40,
    noise: float = 0.0,
    seed: int = 7,
    topology: Topology | None = None,
) -> World:
    rng = np.random.default_rng(seed)
    given = topology or make_topology(types=types, hosts=hosts)
    hidden = PowerModel(**(truth or {"modelType": "mse", "idlePower": 50, "maxPower": 200, "calibrationFactor": 5.0}))
    groups = topology_groups(given)
    models = group_models(with_group_models(given, groups, [hidden] * len(groups)), groups)
    utilization = make_utilization(rng, hours * 120, types, hosts)
    windows, readings = [], []
    for hour in range(hours):
        occupancy = make_occupancy(utilization[hour * 120 : (hour + 1) * 120], hour * HOUR)
        watts = price(occupancy, models)
        windows.append(occupancy)
        readings.append(PowerSeries(occupancy.timestamp_ms, watts * (1 + noise * rng.standard_normal(len(watts)))))
    return World(given, tuple(windows), tuple(readings))


@pytest.fixture(scope="session")
def world_of():
    """``make_world`` with hours, truth, types, hosts, noise, seed or topology."""
    return make_world


@pytest.fixture(scope="session")
def world() -> World:
    """Twelve hours of forty hosts, without noise."""
    return make_world()
