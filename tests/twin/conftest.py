"""A small world: four hosts, two days of hourly jobs, measured power from a hidden curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native.engine import NativeEngine
from opendt.lake import Lake
from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Workload, make_tasks, with_fragment_facts
from opendt.settings import LakeSettings, Settings, WindowSettings
from opendt.twin.session import RunIdentity, TwinSession

START_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class World:
    topology: Topology
    workload: Workload
    power: PowerSeries
    carbon: CarbonTrace


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(7)
    topology = parse_topology(
        {
            "clusters": [
                {
                    "name": "C",
                    "hosts": [
                        {
                            "name": "H",
                            "count": 4,
                            "cpu": {"coreCount": 8, "coreSpeed": 2000},
                            "memory": {"memorySize": 100_000},
                            "cpuPowerModel": {
                                "modelType": "mse",
                                "idlePower": 40,
                                "maxPower": 200,
                                "calibrationFactor": 9.0,
                            },
                        }
                    ],
                }
            ]
        }
    )
    n = 60
    submission = START_MS + np.sort(rng.integers(0, 12 * HOUR_MS, n))
    submission[0] = START_MS
    count = rng.integers(5, 120, n)
    count[::9] = 0  # some tasks have no work and will not run
    ids = np.repeat(np.arange(n), count)
    fragments = Fragments(
        ids, np.full(len(ids), 30_000), rng.integers(0, 8_000, len(ids)).astype(float), np.zeros(len(ids))
    )
    tasks = make_tasks(np.arange(n), submission, cpu_count=np.full(n, 4, np.int32))
    workload = Workload(with_fragment_facts(tasks, fragments), fragments)
    truth = topology.model_dump(mode="json")
    truth["clusters"][0]["hosts"][0]["cpuPowerModel"]["calibrationFactor"] = 4.0
    result = simulate(NativeEngine(), parse_topology(truth), workload, EngineOptions(host_every=0))
    times = result.power_source["timestamp_absolute"].to_numpy()
    keep = np.unique(times, return_index=True)[1]
    power = PowerSeries(times[keep], result.power_source["power_draw"].to_numpy()[keep].astype(float))
    carbon = CarbonTrace(np.array([START_MS]), np.array([300.0]))
    return World(topology, workload, power, carbon)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(lake=LakeSettings(path=tmp_path / "lake"), windows=WindowSettings(length_s=3600))


@pytest.fixture
def open_twin(world, settings):
    """A function that opens a session on the lake of this test, like a process that starts."""
    lakes = []

    def open_(run_id: str = "r", **kwargs) -> TwinSession:
        lake = Lake.open(kwargs.pop("settings", settings).lake)
        lakes.append(lake)
        identity = RunIdentity(run_id, "pipeline", "world", kwargs.pop("sha", "0"))
        return TwinSession.open(settings, lake, NativeEngine(), identity, world.topology, world.carbon)

    yield open_
    for lake in lakes:
        lake.close()
