"""OpenDC's experiment format: what is read, what is refused, which scenarios come out and in which order."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from opendt.engine.experiment import load_inputs, read_experiment, read_scenarios, shifted
from opendt.errors import InputError
from opendt.models.workload import Fragments, Workload, make_tasks

MINIMAL = {
    "topologies": [{"pathToFile": "topology.json"}],
    "workloads": [{"pathToFile": "workload", "type": "ComputeWorkload"}],
}


@pytest.fixture
def write(tmp_path):
    def to_file(**changes):
        path = tmp_path / "experiment.json"
        path.write_text(json.dumps({**MINIMAL, **changes}))
        return path

    return to_file


def test_a_minimal_experiment_has_opendc_defaults(write):
    (scenario,) = read_scenarios(write())
    options = scenario.options()
    assert options.sample_interval_ms == 300_000
    assert options.allocation == {"type": "prefab", "policyName": "Mem"}
    assert (options.scaling, options.failures, options.checkpoints, options.max_failures) == ("NoDelay", None, None, 10)
    assert (options.host_every, options.task_rows) == (1, True)


def test_scenarios_follow_the_documented_index_formula(write):
    path = write(
        topologies=[{"pathToFile": "a.json"}, {"pathToFile": "b.json"}],
        workloads=[{"pathToFile": w, "type": "ComputeWorkload"} for w in ("w0", "w1")],
        allocationPolicies=[{"type": "prefab", "policyName": p} for p in ("Mem", "MemInv", "CoreMem")],
        exportModels=[{"exportInterval": 10}, {"exportInterval": 20}],
        maxNumFailures=[1, 2],
    )
    scenarios = read_scenarios(path)
    assert len(scenarios) == 2 * 2 * 3 * 2 * 2
    assert [s.index for s in scenarios] == list(range(48))
    t, w, a, x, m = 1, 0, 2, 1, 0
    found = scenarios[((((t * 2 + w) * 3 + a) * 2 + x) * 2) + m]
    assert found.topology_path.name == "b.json"
    assert found.workload_path.name == "w0"
    assert found.options().allocation["policyName"] == "CoreMem"
    assert (found.export_interval_ms, found.max_failures) == (20_000, 1)


def test_repeated_entries_of_a_set_count_once(write):
    path = write(
        topologies=[{"pathToFile": "a.json"}, {"pathToFile": "./a.json"}, {"pathToFile": "a.json"}],
        allocationPolicies=[
            {"type": "filter"},
            {"type": "filter", "filters": [{"type": "Compute"}], "weighers": [], "subsetSize": 1},
        ],
    )
    experiment = read_experiment(path)
    assert [t.pathToFile for t in experiment.topologies] == ["a.json", "./a.json"]
    assert len(experiment.allocationPolicies) == 1


def test_paths_start_at_the_experiment_files_folder(write, tmp_path):
    failures = [{"type": "trace-based", "pathToFile": "failures.parquet", "repeat": False}]
    (scenario,) = read_scenarios(write(failureModels=failures))
    assert scenario.topology_path == tmp_path / "topology.json"
    assert scenario.options().failures == {
        "type": "trace-based", "pathToFile": str(tmp_path / "failures.parquet"), "startPoint": 0.0, "repeat": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"topologies": []}, "topologies"),
        ({"runs": 0}, "runs"),
        ({"exportModels": [{"exportInterval": 0}]}, "exportInterval"),
        ({"exportModels": [{"exportInterval": 1.5}]}, "exportInterval"),
        ({"exportModels": [{"filesToExport": ["hosts"]}]}, "filesToExport"),
        ({"allocationPolicies": [{"type": "prefab", "policyName": "mem"}]}, "policyName"),
        ({"allocationPolicies": [{"type": "filter", "filters": [{"type": "Ram", "ratio": 2}]}]}, "ratio"),
        ({"allocationPolicies": [{"type": "timeshift", "taskStopper": {"type": "taskstopper"}}]}, "taskStopper.*type"),
        ({"failureModels": [{"type": "prefab", "prefabName": "G5k07Exp"}]}, "prefabName"),
        ({"workloads": [{"pathToFile": "w", "type": "Other"}]}, "type"),
        ({"workloads": [{"pathToFile": "w", "type": "ComputeWorkload", "scalingPolicy": "perfect"}]}, "scalingPolicy"),
        (
            {"workloads": [{"pathToFile": "w", "type": "ComputeWorkload", "submissionTime": "2022-10-06T22:00Z"}]},
            "submissionTime",
        ),
    ],
)
def test_what_opendc_refuses_is_refused_by_name(write, changes, field):
    with pytest.raises(InputError, match=field) as caught:
        read_experiment(write(**changes))
    assert "experiment.json" in caught.value.message


def test_sampling_with_an_unseeded_generator_is_refused(write):
    workload = {"pathToFile": "w", "type": "ComputeWorkload", "sampleFraction": 0.5}
    with pytest.raises(InputError, match="cannot be repeated"):
        read_experiment(write(workloads=[workload]))


@pytest.mark.parametrize("text", [None, "{"])
def test_an_absent_or_broken_file_is_named(tmp_path, text):
    path = tmp_path / "experiment.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"experiment\.json"):
        read_experiment(path)


def test_only_reproducible_failures_can_be_compared(write):
    custom = {"type": "constant", "value": 1.0}
    models = [
        None,
        {"type": "no"},
        {"type": "prefab", "prefabName": "G5k06Exp"},
        {"type": "custom", "iatSampler": custom, "durationSampler": custom, "nohSampler": custom},
    ]
    assert [s.deterministic for s in read_scenarios(write(failureModels=models))] == [True, True, False, False]


def test_a_submission_time_moves_tasks_and_deadlines_together():
    tasks = make_tasks(
        np.array([1, 2, 3]), np.array([3_000, 5_000, 7_000]), deadline_ms=np.array([-1, -1, 9_000]),
        fragment_count=np.array([0, 1, 1]),
    )  # fmt: skip
    nothing = np.zeros(0, np.int64)
    moved = shifted(Workload(tasks, Fragments(nothing, nothing, np.zeros(0), np.zeros(0))), 1_000_000)
    assert moved.tasks.submission_ms.tolist() == [998_000, 1_000_000, 1_002_000]
    assert moved.tasks.deadline_ms.tolist() == [-1, -1, 1_004_000]


def test_golden_inputs_load(golden):
    (scenario,) = read_scenarios(golden / "carbon_trace/experiment.json")
    inputs = load_inputs(scenario)
    assert len(inputs.workload.tasks) == 10
    assert inputs.carbon is not None
    assert (np.diff(inputs.carbon.timestamp_ms) > 0).all()
    assert inputs.options.sample_interval_ms == 30_000


@pytest.mark.parametrize("named", ["carbon.parquet", "/app/workload/carbon.parquet"])
def test_a_carbon_trace_named_by_a_foreign_path_is_found_beside_the_topology(golden, tmp_path, named):
    folder = tmp_path / "scenario"
    shutil.copytree(golden / "carbon_trace", folder)
    topology = json.loads((folder / "topology.json").read_text())
    topology["clusters"][0]["powerSource"]["carbonTracePath"] = named
    (folder / "topology.json").write_text(json.dumps(topology))
    assert load_inputs(read_scenarios(folder / "experiment.json")[0]).carbon is not None


def test_an_absent_carbon_trace_is_named(golden, tmp_path):
    folder = tmp_path / "scenario"
    shutil.copytree(golden / "carbon_trace", folder)
    (folder / "carbon.parquet").unlink()
    with pytest.raises(InputError, match=r"carbon\.parquet"):
        load_inputs(read_scenarios(folder / "experiment.json")[0])
