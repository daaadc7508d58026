"""Our models in OpenDC's files: keys, types, nullability, ids, and how a growing workload is cut."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from opendt.engine.base import EngineOptions
from opendt.engine.opendc.inputs import (
    Export,
    carbon_cluster,
    check_supported,
    experiment_json,
    fragment_table,
    power_model_json,
    runner_ids,
    task_table,
    topology_json,
)
from opendt.engine.opendc.windows import check_arrived, cut, merged
from opendt.errors import ConfigError, EngineError, TopologyError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import PowerModel, parse_topology
from opendt.models.workload import Fragments, Workload, empty_workload, make_tasks, with_fragment_facts

HOST = {"cpu": {"coreCount": 4, "coreSpeed": 1000}, "memory": {"memorySize": 1000}}
CARBON = CarbonTrace(np.array([0]), np.array([100.0]))


def topology(**cluster):
    return parse_topology({"clusters": [{"hosts": [HOST], **cluster}]})


def workload(*tasks, **columns) -> Workload:
    """Tasks given as (id, submission, [(duration, usage), ...])."""
    ids = np.array([t[0] for t in tasks], np.int64)
    rows = [(t[0], d, u) for t in tasks for d, u in t[2]]
    fragments = Fragments(
        np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.int64),
        np.array([float(r[2]) for r in rows]), np.zeros(len(rows)),
    )  # fmt: skip
    made = make_tasks(ids, np.array([t[1] for t in tasks], np.int64), **columns)
    return Workload(with_fragment_facts(made, fragments), fragments)


class TestTopology:
    def test_required_keys_are_written_even_at_their_defaults(self):
        assert power_model_json(PowerModel(modelType="linear")) == {
            "modelType": "linear", "maxPower": 400.0, "idlePower": 200.0,
        }  # fmt: skip

    def test_each_curve_has_its_own_parameters_only(self):
        assert power_model_json(PowerModel(modelType="mse", calibrationFactor=1.4))["calibrationFactor"] == 1.4
        assert "calibrationFactor" not in power_model_json(PowerModel(modelType="sqrt", calibrationFactor=2.0))

    def test_the_only_cluster_gets_the_carbon_trace(self):
        written = json.loads(topology_json(topology(), CARBON))
        assert written["clusters"][0]["powerSource"]["carbonTracePath"] == "carbon.parquet"
        assert "carbonTracePath" not in topology_json(topology(), None).decode()

    def test_of_several_clusters_the_one_that_names_a_trace_gets_it(self):
        named = {"hosts": [HOST], "powerSource": {"carbonTracePath": "/somewhere/else.parquet"}}
        assert carbon_cluster(parse_topology({"clusters": [{"hosts": [HOST]}, named]})) == 1
        assert carbon_cluster(parse_topology({"clusters": [{"hosts": [HOST]}, {"hosts": [HOST]}]})) is None
        with pytest.raises(TopologyError, match="more than one"):
            carbon_cluster(parse_topology({"clusters": [named, named]}))

    @pytest.mark.parametrize("model", [{"modelType": "active"}, {"modelType": "piecewise", "levels": [1, 2]}])
    def test_curves_opendc_does_not_have_are_refused(self, model):
        with pytest.raises(TopologyError, match=r"clusters\[0\].hosts\[0\].cpuPowerModel"):
            check_supported(parse_topology({"clusters": [{"hosts": [{**HOST, "cpuPowerModel": model}]}]}),
                            EngineOptions(), None)  # fmt: skip

    def test_samples_are_whole_seconds(self):
        with pytest.raises(ConfigError, match="whole seconds"):
            check_supported(topology(), EngineOptions(sample_interval_ms=1_500), None)


class TestTables:
    def test_types_and_nullability_are_opendcs(self):
        work = workload((1, 0, [(10, 5)]))
        tasks, fragments = task_table(work, runner_ids(work.tasks.task_id)), fragment_table(work, np.array([1]))
        assert {f.name: (str(f.type), f.nullable) for f in tasks.schema} == {
            "id": ("int32", False), "submission_time": ("int64", False), "duration": ("int64", False),
            "cpu_count": ("int32", False), "cpu_capacity": ("double", False), "mem_capacity": ("int64", False),
            "name": ("string", True),
        }  # fmt: skip
        assert [(f.name, str(f.type), f.nullable) for f in fragments.schema] == [
            ("id", "int32", False), ("duration", "int64", False), ("cpu_usage", "double", False),
        ]  # fmt: skip

    def test_ids_that_fit_stay_and_others_become_row_numbers(self):
        assert runner_ids(np.array([7, 3])).tolist() == [7, 3]
        assert runner_ids(np.array([2**40, 3])).tolist() == [0, 1]
        assert runner_ids(np.array([-1, 3])).tolist() == [0, 1]

    def test_fragments_and_parents_use_the_ids_written(self):
        work = workload((2**40, 0, [(1, 1)]), (5, 0, [(2, 1)]), parents={5: (2**40,)})
        ids = runner_ids(work.tasks.task_id)
        assert fragment_table(work, ids)["id"].to_pylist() == [0, 1]
        assert task_table(work, ids)["parents"].to_pylist() == [[], [0]]
        assert task_table(work, ids)["children"].to_pylist() == [[1], []]

    def test_deferrable_tasks_keep_nature_and_deadline(self):
        work = workload((1, 0, [(1, 1)]), deferrable=np.array([True]), deadline_ms=np.array([99]))
        written = task_table(work, np.array([1]))
        assert (written["nature"].to_pylist(), written["deadline"].to_pylist()) == (["deferrable"], [99])

    def test_the_experiment_holds_every_topology_and_export_once(self):
        made = experiment_json(
            ["a.json", "b.json"], EngineOptions(), [Export(30, ("host",)), Export(300, ("task",))], 1
        )
        assert [t["pathToFile"] for t in made["topologies"]] == ["a.json", "b.json"]
        assert [e["exportInterval"] for e in made["exportModels"]] == [30, 300]
        assert all(e["printFrequency"] is None for e in made["exportModels"])


class TestMerging:
    def test_tasks_without_fragments_are_left_out(self):
        assert len(merged(empty_workload(), workload((1, 0, [])), None).tasks) == 0

    def test_later_fragments_go_behind_earlier_ones(self):
        first = workload((1, 0, [(10, 1)]))
        more = Workload(empty_workload().tasks, workload((1, 0, [(20, 2)])).fragments)
        assert merged(first, more, 10).fragments.duration_ms.tolist() == [10, 20]

    def test_a_task_from_before_the_results_counts_as_submitted_now(self):
        assert merged(workload((1, 0, [(10, 1)])), workload((2, 5, [(1, 1)])), 100).tasks.submission_ms.tolist() == [
            0,
            100,
        ]

    def test_a_task_cannot_arrive_twice(self):
        one = workload((1, 0, [(10, 1)]))
        with pytest.raises(EngineError, match="task 1 arrived twice"):
            merged(one, one, None)

    def test_a_fragment_needs_its_task(self):
        stray = Workload(empty_workload().tasks, workload((1, 0, [(20, 2)])).fragments)
        with pytest.raises(EngineError, match="task 1 arrived before"):
            merged(empty_workload(), stray, None)


class TestCut:
    def test_everything_is_kept_without_a_cut(self):
        work = workload((1, 0, [(10, 1)]), (2, 50, [(10, 1)]))
        part = cut(work, None, whole_tasks=False)
        assert (part.marker, len(part.workload.tasks), len(part.workload.fragments)) == (None, 2, 2)

    def test_later_tasks_and_fragments_are_left_out_and_a_marker_stands_at_the_cut(self):
        work = workload((1, 0, [(100, 1), (100, 2), (100, 3)]), (2, 150, [(10, 1)]))
        part = cut(work, 150, whole_tasks=False)
        assert part.workload.tasks.task_id.tolist() == [1, part.marker]
        assert part.workload.tasks.submission_ms.tolist() == [0, 150]
        assert part.workload.fragments.cpu_usage_mhz.tolist() == [1.0, 2.0, 0.0]

    def test_checkpoints_keep_whole_tasks(self):
        work = workload((1, 0, [(100, 1), (100, 2), (100, 3)]))
        assert len(cut(work, 150, whole_tasks=True).workload.fragments) == 4

    def test_a_task_whose_usage_is_yet_to_come_gets_a_stand_in(self):
        work = workload((1, 0, [(100, 0), (100, 5)]))
        late = Workload(work.tasks, work.fragments.take(slice(0, 1)))
        part = cut(late, 50, whole_tasks=False)
        assert part.workload.fragments.cpu_usage_mhz.tolist() == [0.0, 1.0, 0.0]
        assert part.stand_in.tolist() == [1]

    def test_a_child_of_an_unknown_parent_waits_outside(self):
        work = workload((1, 0, [(10, 1)]), (2, 0, [(10, 1)]), (3, 0, [(10, 1)]), parents={2: (9,), 3: (2,)})
        assert cut(work, 50, whole_tasks=False).workload.tasks.task_id.tolist()[:-1] == [1]

    def test_a_parent_that_never_comes_is_an_error_at_the_end(self):
        with pytest.raises(EngineError, match="task 2 waits for ever"):
            cut(workload((1, 0, [(10, 1)]), (2, 0, [(10, 1)]), parents={2: (9,)}), None, whole_tasks=False)

    def test_the_marker_never_takes_a_tasks_id(self):
        work = workload((2**31 - 2, 0, [(10, 1)]), (0, 0, [(10, 1)]))
        marker = cut(work, 50, whole_tasks=False).marker
        assert marker == 1
        assert runner_ids(np.array([2**31 - 2, 0, marker])).tolist() == [2**31 - 2, 0, 1]

    def test_a_missing_fragment_is_an_error_once_it_is_needed(self):
        work = workload((1, 0, [(100, 1), (100, 1)]))
        late = Workload(work.tasks, work.fragments.take(slice(0, 1)))
        part = cut(late, 100, whole_tasks=False)
        check_arrived(part, {1: 100}, 100)
        with pytest.raises(EngineError, match="task 1 needs its next fragment at 99 ms"):
            check_arrived(part, {1: 99}, 100)
        with pytest.raises(EngineError, match="task 1"):
            check_arrived(replace(part, marker=None), {1: 100}, None)
