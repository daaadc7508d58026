"""The OpenDC engine around a stand-in program that checks what it is given and replays recorded results."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.experiment import load_inputs, read_scenarios
from opendt.engine.opendc.cache import METADATA
from opendt.engine.opendc.engine import OpenDCEngine
from opendt.engine.opendc.events import cluster_of_hosts
from opendt.errors import EngineBusyError, EngineError
from opendt.models.topology import parse_topology
from opendt.models.workload import empty_workload


@pytest.fixture
def single(golden):
    """(inputs, recording) of the golden single task: one fragment of 100 s, one of 50 s, one of 150 s."""
    folder = golden / "single_task"
    return load_inputs(read_scenarios(folder / "experiment.json")[0]), folder / "expected"


@pytest.fixture
def run(stand_in, single):
    """Simulate the single task with the stand-in behaving in some way."""
    inputs, recording = single

    def simulate_it(behaviour="replay", engine=None, **settings):
        stand_in.behave(behaviour, recording, pids=str(stand_in.folder / "pids"), needle="999")
        engine = engine or OpenDCEngine(stand_in.settings(**settings))
        return simulate(engine, inputs.topology, inputs.workload, inputs.options, inputs.carbon)

    return simulate_it


def runs_of(stand_in) -> list[Path]:
    return sorted(p for p in (stand_in.folder / "runs").iterdir() if (p / METADATA).is_file())


def test_inputs_pass_opendcs_checks_and_results_come_back(run, single):
    result = run()
    expected = pq.read_table(single[1] / "host.parquet")
    assert result.host.to_pylist() == expected.to_pylist()
    assert result.energy_j == pytest.approx(45_625.0)
    assert (result.tasks_started, result.tasks_completed, result.tasks_running) == (1, 1, 0)


@pytest.mark.parametrize(
    "name", ["two_clusters", "carbon_trace", "dependencies", "battery_double_threshold", "host_failure"]
)
def test_every_kind_of_input_file_passes_opendcs_checks(stand_in, golden, name):
    scenario = read_scenarios(golden / name / "experiment.json")[0]
    inputs = load_inputs(scenario)
    stand_in.behave("replay", golden / name / "expected")
    engine = OpenDCEngine(stand_in.settings())
    result = simulate(engine, inputs.topology, inputs.workload, inputs.options, inputs.carbon)
    assert len(result.task_events) > 0
    assert (result.battery is not None) == (name == "battery_double_threshold")
    (folder,) = runs_of(stand_in)
    assert (folder / "failures.parquet").exists() == (name == "host_failure")


def test_failures_show_as_events(stand_in, golden):
    inputs = load_inputs(read_scenarios(golden / "host_failure/experiment.json")[0])
    stand_in.behave("replay", golden / "host_failure/expected")
    result = simulate(OpenDCEngine(stand_in.settings()), inputs.topology, inputs.workload, inputs.options)
    origin = int(inputs.workload.tasks.submission_ms[0])
    found = [(r["event"], r["time_ms"] - origin) for r in result.task_events.to_pylist()]
    assert found == [
        ("submitted", 0), ("scheduled", 0), ("failed", 100_000), ("scheduled", 150_000), ("completed", 450_000),
    ]  # fmt: skip


class TestArchive:
    def test_a_run_keeps_inputs_outputs_and_how_it_ended(self, run, stand_in):
        run()
        (folder,) = runs_of(stand_in)
        facts = json.loads((folder / METADATA).read_text())
        assert (facts["state"], facts["exit_status"], facts["tasks"], facts["fragments"]) == ("completed", 0, 1, 3)
        assert facts["java"] == "25.0.1"
        assert facts["command"][-1] == "experiment.json"
        for name in ("experiment.json", "topology_0000.json", "workload/tasks.parquet", "stderr.txt", "stdout.txt",
                     "output/run/raw-output/0/seed=0/host.parquet"):  # fmt: skip
            assert (folder / name).is_file(), name

    def test_a_failed_run_keeps_its_reason(self, run, stand_in):
        with pytest.raises(EngineError):
            run("crash")
        (folder,) = runs_of(stand_in)
        facts = json.loads((folder / METADATA).read_text())
        assert (facts["state"], facts["reason"]) == ("failed", "IOException: first file is odd")
        assert "Caused by" in (folder / "stderr.txt").read_text()

    def test_the_oldest_runs_make_room(self, run, stand_in):
        for _ in range(3):
            run(cache_mb=0, keep_runs=2)
        assert len(runs_of(stand_in)) == 2

    def test_an_archive_that_cannot_be_written_is_an_error(self, run, stand_in):
        (stand_in.folder / "file").write_text("")
        with pytest.raises(EngineError, match=r"opendc\.archive"):
            run(archive=stand_in.folder / "file/runs")


class TestCache:
    def test_equal_input_is_run_once(self, run, stand_in):
        first, second = run(), run()
        assert stand_in.calls == 1
        assert second.host.equals(first.host)

    def test_zero_room_runs_everything_again(self, run, stand_in):
        run(cache_mb=0)
        run(cache_mb=0)
        assert stand_in.calls == 2

    @pytest.mark.parametrize("what", ["usage", "memory", "power", "options", "runner"])
    def test_any_change_is_run_again(self, stand_in, single, what):
        inputs, recording = single
        stand_in.behave("replay", recording)
        simulate(OpenDCEngine(stand_in.settings()), inputs.topology, inputs.workload, inputs.options)
        topology, workload, options = inputs.topology, inputs.workload, inputs.options
        if what == "usage":
            workload.fragments.cpu_usage_mhz[2] += 1e-9
        elif what == "memory":
            workload.tasks.mem_capacity[0] += 1
        elif what == "power":
            data = topology.model_dump()
            data["clusters"][0]["hosts"][0]["cpuPowerModel"]["maxPower"] += 1
            topology = parse_topology(data)
        elif what == "options":
            options = EngineOptions(sample_interval_ms=60_000, host_every=1, task_rows=True, scaling="Perfect")
        else:
            next((stand_in.home / "lib").glob("zstd*")).write_bytes(b"other")
        simulate(OpenDCEngine(stand_in.settings()), topology, workload, options)
        assert stand_in.calls == 2

    def test_a_damaged_entry_is_an_error_once(self, run, stand_in):
        run()
        for file in (stand_in.folder / "runs/.results").rglob("host.parquet"):
            file.write_bytes(b"damaged")
        with pytest.raises(EngineError, match="unfinished or damaged"):
            run()
        assert run().energy_j == pytest.approx(45_625.0)
        assert stand_in.calls == 2

    def test_the_least_recently_used_makes_room(self, stand_in):
        from opendt.engine.opendc.cache import ResultCache

        cache = ResultCache(stand_in.folder, 1)
        (stand_in.folder / "part").mkdir()
        (stand_in.folder / "part/data").write_bytes(bytes(600_000))
        cache.put("a", [stand_in.folder / "part"])
        assert cache.get("a") is not None
        time.sleep(0.01)
        cache.put("b", [stand_in.folder / "part"])
        assert cache.get("a") is None
        assert cache.get("b") is not None


class TestFailures:
    @pytest.mark.parametrize("behaviour", ["memory", "disk", "killed"])
    def test_want_of_resources_is_transient(self, run, behaviour):
        with pytest.raises(EngineBusyError):
            run(behaviour)

    def test_a_java_exception_is_terminal_and_says_why(self, run):
        with pytest.raises(EngineError, match="OpenDC failed: IOException: first file is odd"):
            run("crash")

    def test_a_run_that_never_ends_meets_the_time_limit(self, run, stand_in):
        started = time.monotonic()
        with pytest.raises(EngineError, match=r"did not end within 0\.7 s"):
            run("hang", timeout_s=0.7)
        assert time.monotonic() - started < 10
        for pid in (stand_in.folder / "pids").read_text().split():
            assert not _alive(int(pid))

    @pytest.mark.parametrize(
        ("behaviour", "says"),
        [("garbage", "damaged"), ("missing", "left results out"), ("unfinished", "left results out")],
    )
    def test_results_that_cannot_be_read_are_no_numbers(self, run, behaviour, says):
        with pytest.raises(EngineError, match=says):
            run(behaviour)

    def test_a_result_file_of_another_shape_names_the_column(self, run, single, stand_in):
        other = stand_in.folder / "other"
        shutil.copytree(single[1], other)
        table = _renamed(other / "powerSource.parquet", "power_draw", "watts")
        pq.write_table(table, other / "powerSource.parquet")
        stand_in.behave("replay", other)
        inputs = single[0]
        with pytest.raises(EngineError, match="power_draw"):
            simulate(OpenDCEngine(stand_in.settings()), inputs.topology, inputs.workload, inputs.options)

    def test_a_task_that_fits_no_single_host_never_starts_java(self, single, stand_in):
        inputs = single[0]
        hosts = [
            {"cpu": {"coreCount": 1, "coreSpeed": 1000}, "memory": {"memorySize": 10**6}},
            {"cpu": {"coreCount": 64, "coreSpeed": 1000}, "memory": {"memorySize": 1}},
        ]
        inputs.workload.tasks.cpu_count[0] = 2
        inputs.workload.tasks.mem_capacity[0] = 50_000
        with pytest.raises(EngineError, match="fits no single host"):
            simulate(
                OpenDCEngine(stand_in.settings()), parse_topology({"clusters": [{"hosts": hosts}]}), inputs.workload
            )
        assert stand_in.calls == 0

    def test_a_child_of_a_task_larger_than_any_host_never_starts_java(self, golden, stand_in):
        inputs = load_inputs(read_scenarios(golden / "dependencies/experiment.json")[0])
        parent = next(iter(inputs.workload.tasks.parents.values()))[0]
        inputs.workload.tasks.cpu_count[inputs.workload.tasks.task_id == parent] = 10_000
        with pytest.raises(EngineError, match="larger than any host"):
            simulate(OpenDCEngine(stand_in.settings()), inputs.topology, inputs.workload)
        assert stand_in.calls == 0

    def test_a_seed_out_of_reach_is_refused(self, single, stand_in):
        inputs, recording = single
        stand_in.behave("replay", recording)
        engine = OpenDCEngine(stand_in.settings())
        random = {"type": "prefab", "policyName": "Random"}
        with pytest.raises(EngineError, match="seed 21 is out of reach"):
            simulate(engine, inputs.topology, inputs.workload, EngineOptions(allocation=random, seed=21))
        assert (
            simulate(engine, inputs.topology, inputs.workload, EngineOptions(host_every=1, seed=21)).tasks_completed
            == 1
        )


class TestManyTopologies:
    @pytest.fixture
    def variants(self, single):
        def with_power(watts):
            data = single[0].topology.model_dump()
            data["clusters"][0]["hosts"][0]["cpuPowerModel"]["maxPower"] = watts
            return parse_topology(data)

        return [with_power(w) for w in (200.0, 300.0, 999.0, 400.0, 500.0)]

    def test_many_topologies_are_one_experiment(self, stand_in, single, variants):
        inputs, recording = single
        stand_in.behave("replay", recording)
        engine = OpenDCEngine(stand_in.settings())
        results = engine.simulate_many(variants, inputs.workload, inputs.options)
        assert (len(results), stand_in.calls) == (5, 1)
        (folder,) = runs_of(stand_in)
        experiment = json.loads((folder / "experiment.json").read_text())
        assert len(experiment["topologies"]) == 5
        engine.simulate_many(variants[::-1], inputs.workload, inputs.options)
        assert stand_in.calls == 1

    def test_they_are_split_over_parallel_javas(self, stand_in, single, variants):
        inputs, recording = single
        stand_in.behave("replay", recording)
        engine = OpenDCEngine(stand_in.settings(parallel=2))
        assert len(engine.simulate_many(variants, inputs.workload, inputs.options)) == 5
        sizes = [len(json.loads((f / "experiment.json").read_text())["topologies"]) for f in runs_of(stand_in)]
        assert sorted(sizes) == [2, 3]

    def test_one_refused_topology_costs_no_other_its_result(self, stand_in, single, variants):
        inputs, recording = single
        stand_in.behave("refuse", recording, needle="999.0")
        engine = OpenDCEngine(stand_in.settings())
        results = engine.simulate_each(variants, inputs.workload, inputs.options)
        assert [isinstance(r, EngineError) for r in results] == [False, False, True, False, False]
        assert "maxPower is below idlePower" in str(results[2])
        assert stand_in.calls == 2
        with pytest.raises(EngineError, match="maxPower is below"):
            engine.simulate_many(variants, inputs.workload, inputs.options)

    def test_a_topology_opendc_does_not_know_is_an_error_in_its_place(self, stand_in, single, variants):
        inputs, recording = single
        stand_in.behave("replay", recording)
        data = variants[0].model_dump()
        data["clusters"][0]["hosts"][0]["cpuPowerModel"]["modelType"] = "active"
        results = OpenDCEngine(stand_in.settings()).simulate_each(
            [parse_topology(data), variants[0]], inputs.workload, inputs.options
        )
        assert "no power model 'active'" in str(results[0])
        assert results[1].tasks_completed == 1

    def test_no_work_gives_empty_results_without_java(self, stand_in, single):
        engine = OpenDCEngine(stand_in.settings())
        (result,) = engine.simulate_many([single[0].topology], empty_workload(), EngineOptions())
        assert (len(result.power_source), result.energy_j, stand_in.calls) == (0, 0.0, 0)


def test_going_back_in_time_is_refused(stand_in, single):
    inputs, recording = single
    stand_in.behave("replay", recording)
    engine = OpenDCEngine(stand_in.settings())
    state, _ = engine.advance(engine.start(inputs.topology, inputs.options), inputs.workload, None)
    with pytest.raises(EngineError, match="results up to"):
        engine.advance(state, empty_workload(), int(inputs.workload.tasks.submission_ms[0]) + 1_000)


def test_hosts_and_clusters_get_opendcs_unique_names():
    host = {"name": "H", "count": 2, "cpu": {"coreCount": 1, "coreSpeed": 1}, "memory": {"memorySize": 1}}
    topology = parse_topology({"clusters": [{"hosts": [host]}, {"hosts": [host, {**host, "name": "B", "count": 1}]}]})
    assert cluster_of_hosts(topology) == {
        "H": "Cluster", "H-0": "Cluster", "H-1": "Cluster-0", "H-2": "Cluster-0", "B": "Cluster-0",
    }  # fmt: skip


def test_windows_that_end_between_samples_ask_for_finer_power(stand_in, single):
    inputs, recording = single
    stand_in.behave("replay", recording)
    engine = OpenDCEngine(stand_in.settings())
    origin = int(inputs.workload.tasks.submission_ms[0])
    engine.advance(engine.start(inputs.topology, inputs.options), inputs.workload, origin + 75_000)
    (folder,) = runs_of(stand_in)
    exports = json.loads((folder / "experiment.json").read_text())["exportModels"]
    assert [(e["exportInterval"], e["filesToExport"]) for e in exports][1] == (15, ["powerSource"])
    tasks = pq.read_table(folder / "workload/tasks.parquet")
    assert tasks["submission_time"].to_pylist() == [origin, origin + 75_000]
    assert pq.read_table(folder / "workload/fragments.parquet")["duration"].to_pylist() == [100_000, 0]


def _renamed(path: Path, old: str, new: str) -> pa.Table:
    table = pq.read_table(path)
    return table.rename_columns([new if name == old else name for name in table.column_names])


def _alive(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return False
        except (ProcessLookupError, FileNotFoundError):
            return False
        time.sleep(0.02)
    return True


def test_hosts_are_written_at_every_sample_only_where_wanted(stand_in, single):
    inputs, recording = single
    stand_in.behave("replay", recording)
    engine = OpenDCEngine(stand_in.settings())
    base = EngineOptions(sample_interval_ms=60_000)
    files = []
    for every, knots in ((0, 0), (0, 11), (1, 0), (5, 0), (5, 11)):
        result = simulate(
            engine, inputs.topology, inputs.workload, replace(base, host_every=every, occupancy_knots=knots)
        )
        assert (result.occupancy is not None) == (knots > 0)
        assert (len(result.host) > 0) == (every > 0)
        models = json.loads((runs_of(stand_in)[-1] / "experiment.json").read_text())["exportModels"]
        files.append([(m["exportInterval"], "host" in m["filesToExport"]) for m in models])
    assert files == [
        [(60, False)], [(60, True)], [(60, True)], [(60, False), (300, True)], [(60, True), (300, True)],
    ]  # fmt: skip


def test_occupancy_counts_each_host_once(run):
    occupancy = run().occupancy
    assert occupancy is not None
    assert np.asarray(occupancy.weights).sum(axis=(1, 2)) == pytest.approx(np.ones(len(occupancy.timestamp_ms)))
    assert occupancy.active_hosts[:, 0].tolist()[:4] == [1, 1, 1, 1]
