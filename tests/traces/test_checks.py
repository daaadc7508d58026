"""Bad input: each problem is one TraceError with file, row, column and remedy; --skip-invalid drops and counts."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from opendt.errors import InputError, TraceError
from opendt.traces import read_trace

START_MS = 1_700_000_000_000
NAN = math.nan

# change, file, row, column, words of the message
BAD_ROWS = [
    ({"tasks_duration": [60_000, -5, 0]}, "tasks.parquet", 1, "duration", "is -5; must be at least 0"),
    ({"tasks_submission_time": [START_MS, NAN, START_MS]}, "tasks.parquet", 1, "submission_time", "nan"),
    ({"tasks_submission_time": [START_MS, None, START_MS]}, "tasks.parquet", 1, "submission_time", "missing"),
    ({"tasks_submission_time": [START_MS, START_MS * 1000, 0]}, "tasks.parquet", 1, "submission_time", "microseconds"),
    ({"tasks_cpu_count": [4, 2, -1]}, "tasks.parquet", 2, "cpu_count", "is -1"),
    ({"tasks_cpu_count": [4, 2**40, 1]}, "tasks.parquet", 1, "cpu_count", "at most"),
    ({"tasks_cpu_count": [4, 2.5, 1]}, "tasks.parquet", 1, "cpu_count", "whole number"),
    ({"tasks_cpu_capacity": [8000.0, math.inf, 1.0]}, "tasks.parquet", 1, "cpu_capacity", "finite"),
    ({"tasks_mem_capacity": [1, -1, 1]}, "tasks.parquet", 1, "mem_capacity", "is -1"),
    ({"tasks_id": ["10", "11", "10"]}, "tasks.parquet", 2, "id", "is 10, which an earlier row has"),
    ({"tasks_id": ["10", "11", None]}, "tasks.parquet", 2, "id", "missing"),
    ({"tasks_id": ["10", "11", ""]}, "tasks.parquet", 2, "id", "empty"),
    ({"tasks_gpu_count": [0, 0, -2]}, "tasks.parquet", 2, "gpu_count", "is -2"),
    ({"tasks_parents": [[], ["99"], []]}, "tasks.parquet", 1, "parents", "parent"),
    ({"fragments_duration": [30_000, 30_000, -1]}, "fragments.parquet", 2, "duration", "is -1"),
    ({"fragments_duration": [30_000, None, 1]}, "fragments.parquet", 1, "duration", "missing"),
    ({"fragments_cpu_usage": [1.0, -0.5, 1.0]}, "fragments.parquet", 1, "cpu_usage", "is -0.5"),
    ({"fragments_cpu_usage": [1.0, NAN, 1.0]}, "fragments.parquet", 1, "cpu_usage", "is nan"),
    ({"fragments_cpu_usage": [math.inf, 1.0, 1.0]}, "fragments.parquet", 0, "cpu_usage", "is inf"),
    ({"fragments_cpu_usage": pa.array([1.0, None, 1.0])}, "fragments.parquet", 1, "cpu_usage", "missing"),
    ({"fragments_gpu_usage": [0.0, 0.0, -1.0]}, "fragments.parquet", 2, "gpu_usage", "is -1.0"),
    ({"fragments_id": ["11", "10", "nobody"]}, "fragments.parquet", 2, "id", "is nobody, which tasks.parquet does not"),
    ({"fragments_id": [11, 10, 12]}, "fragments.parquet", 2, "id", "is 12"),
    ({"fragments_id": ["11", None, "10"]}, "fragments.parquet", 1, "id", "missing"),
    ({"consumption": {"timestamp": [0, 1, -1], "power_draw": [1.0] * 3}}, "consumption.parquet", 2, "timestamp", "-1"),
    ({"consumption": {"timestamp": [0, 1], "power_draw": [1.0, NAN]}}, "consumption.parquet", 1, "power_draw", "nan"),
    ({"consumption": {"timestamp": [0, 1], "power_draw": [-2.0, 1.0]}}, "consumption.parquet", 0, "power_draw", "-2"),
    ({"carbon": {"timestamp": [0], "carbon_intensity": [-1.0]}}, "carbon.parquet", 0, "carbon_intensity", "-1"),
    ({"carbon": {"timestamp": [0], "carbon_intensity": [NAN]}}, "carbon.parquet", 0, "carbon_intensity", "nan"),
]


@pytest.mark.parametrize(("change", "file", "row", "column", "words"), BAD_ROWS)
def test_bad_row_is_named(tiny, change, file, row, column, words):
    with pytest.raises(TraceError) as caught:
        read_trace(tiny(**change))
    error = caught.value
    assert (error.file, error.row, error.column) == (file, row, column)
    assert error.message.startswith(f"{file} row {row}: {column} ")
    assert words in error.message
    assert error.message.endswith("without such rows: opendt trace convert SRC DEST --from opendc --skip-invalid.")
    assert error.exit_code == 2


def test_skip_invalid_drops_counts_and_renumbers(tiny):
    folder = tiny(
        tasks_duration=[-5, 30_000, 5_000],
        fragments_id=["11", "10", "nobody"],
    )
    trace = read_trace(folder, skip_invalid=True)
    assert trace.workload.tasks.name.tolist() == ["11", "x-12"]
    assert trace.workload.fragments.task_id.tolist() == [11]
    assert trace.report.dropped == {
        "task duration negative": 1,
        "fragment of an unknown task": 1,
        "fragment of a dropped task": 1,
    }
    assert (trace.report.fragments_of_unknown_tasks, trace.report.tasks_invalid) == (1, 1)
    assert (trace.report.task_rows, trace.report.fragment_rows) == (3, 3)


def test_row_with_two_problems_is_counted_once(tiny):
    report = read_trace(tiny(fragments_duration=[1, 1, -1], fragments_cpu_usage=[1.0, 1.0, NAN]), skip_invalid=True)
    assert sum(report.report.dropped.values()) == 1


def test_first_of_two_tasks_with_one_id_stays(tiny):
    trace = read_trace(tiny(tasks_id=["10", "11", "10"]), skip_invalid=True)
    assert trace.workload.tasks.cpu_count.tolist() == [4, 2]
    assert trace.workload.tasks.fragment_count.tolist() == [2, 1]
    assert trace.report.dropped == {"task id duplicate": 1}


def test_children_of_a_dropped_task_are_dropped_too(tiny):
    folder = tiny(tasks_parents=[["11"], [], ["10"]], tasks_duration=[1, -1, 1], fragments_id=["11", "11", "11"])
    with pytest.raises(TraceError, match="no valid row is left"):
        read_trace(folder, skip_invalid=True)


def test_nothing_left_is_an_error_even_with_skip_invalid(tiny):
    with pytest.raises(TraceError, match=r"fragments\.parquet: no valid row is left .*unknown task: 3"):
        read_trace(tiny(fragments_id=["a", "b", "c"]), skip_invalid=True)


@pytest.mark.parametrize("column", ["id", "submission_time", "duration", "cpu_count", "cpu_capacity", "mem_capacity"])
def test_missing_task_column_is_named(tiny, column):
    with pytest.raises(TraceError, match=rf"tasks\.parquet: column {column} is missing") as caught:
        read_trace(tiny(**{f"tasks_{column}": None}))
    assert (caught.value.file, caught.value.column) == ("tasks.parquet", column)


@pytest.mark.parametrize("column", ["id", "duration", "cpu_usage"])
def test_missing_fragment_column_is_named(tiny, column):
    with pytest.raises(TraceError, match=rf"fragments\.parquet: column {column} is missing"):
        read_trace(tiny(**{f"fragments_{column}": None}))


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"tasks_duration": ["a", "b", "c"]}, "duration"),
        ({"tasks_submission_time": ["today"] * 3}, "submission_time"),
        ({"tasks_id": [1.5, 2.5, 3.5]}, "id"),
        ({"tasks_parents": [1, 2, 3]}, "parents"),
        ({"fragments_cpu_usage": [True, False, True]}, "cpu_usage"),
        ({"fragments_cpu_usage": [[1.0]] * 3}, "cpu_usage"),
    ],
)
def test_wrong_type_is_named(tiny, change, column):
    with pytest.raises(TraceError, match=rf"column {column} has type .*; must be") as caught:
        read_trace(tiny(**change))
    assert caught.value.column == column


@pytest.mark.parametrize("name", ["tasks", "fragments", "consumption", "carbon"])
def test_unusable_files_are_named(tiny, name):
    folder = tiny()
    file = folder / f"{name}.parquet"
    file.write_bytes(b"")
    with pytest.raises(TraceError, match=rf"{name}\.parquet: is empty"):
        read_trace(folder)
    file.write_text("id,duration\n1,2\n")
    with pytest.raises(TraceError, match=rf"{name}\.parquet: is not a Parquet file"):
        read_trace(folder)
    file.unlink()
    file.mkdir()
    with pytest.raises(TraceError, match=rf"{name}\.parquet: cannot be read"):
        read_trace(folder)


def test_damaged_file_is_named(tiny):
    folder = tiny()
    data = bytearray((folder / "fragments.parquet").read_bytes())
    data[4:120] = b"\xff" * 116
    (folder / "fragments.parquet").write_bytes(bytes(data))
    with pytest.raises(TraceError, match=r"fragments\.parquet: cannot be read .* damaged"):
        read_trace(folder)


def test_absent_files_and_folders_are_named(tiny, tmp_path):
    folder = tiny()
    (folder / "fragments.parquet").unlink()
    with pytest.raises(TraceError, match=r"fragments\.parquet: no such file"):
        read_trace(folder)
    with pytest.raises(TraceError, match=r"nowhere: no such folder.*opendt trace make"):
        read_trace(tmp_path / "nowhere")
    with pytest.raises(TraceError, match="is a file"):
        read_trace(folder / "tasks.parquet")


@pytest.mark.parametrize("name", ["tasks", "fragments"])
def test_file_without_rows_is_named(tiny, write_trace_files, name):
    folder = tiny()
    empty = {"id": pa.array([], pa.string()), "submission_time": pa.array([], pa.int64())}
    whole = ("duration", "cpu_count", "mem_capacity", "cpu_capacity", "cpu_usage")
    write_trace_files(**{name: empty | {column: pa.array([], pa.int64()) for column in whole}})
    with pytest.raises(TraceError, match=rf"{name}\.parquet: has no rows"):
        read_trace(folder)


def test_bad_topology_is_an_input_error(tiny):
    folder = tiny()
    (folder / "topology.json").write_text('{"clusters": [{"hosts": [{"cpu": {}}]}]}')
    with pytest.raises(InputError, match=r"topology\.json: clusters"):
        read_trace(folder)


@pytest.mark.parametrize("name", ["tasks_id", "tasks_submission_time", "tasks_cpu_capacity", "fragments_id",
                                  "fragments_duration", "fragments_cpu_usage"])  # fmt: skip
def test_column_of_nulls_only_is_missing_at_row_0(tiny, name):
    with pytest.raises(TraceError, match=r"row 0: .* is missing"):
        read_trace(tiny(**{name: pa.nulls(3)}))


def test_nulls_in_optional_columns_take_the_neutral_value(tiny):
    folder = tiny(
        tasks_gpu_count=pa.array([None, 2, None], pa.int32()),
        tasks_deadline=pa.array([None, START_MS, None], pa.timestamp("ms")),
        tasks_nature=[None, "deferrable", "other"],
        tasks_parents=[None, [], ["10"]],
        fragments_gpu_usage=[None, 1.0, None],
    )
    workload = read_trace(folder).workload
    assert workload.tasks.gpu_count.tolist() == [0, 2, 0]
    assert workload.tasks.deadline_ms.tolist() == [-1, START_MS, -1]
    assert workload.tasks.deferrable.tolist() == [False, True, False]
    assert list(workload.tasks.parents.values()) == [(10,)]
    assert workload.fragments.gpu_usage_mhz.tolist() == [1.0, 0.0, 0.0]


def test_bytes_are_read_as_text_ids(tiny):
    folder = tiny(tasks_id=pa.array([b"10", b"11", b"\xff"]), fragments_id=pa.array([b"11", b"10", b"10"]))
    assert read_trace(folder).workload.tasks.name.tolist() == ["10", "11", "\ufffd"]
