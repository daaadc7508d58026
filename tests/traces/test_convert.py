"""Converters, from small files written by hand to the workload they mean."""

from __future__ import annotations

import gzip
import json

import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.errors import ConfigError, TraceError
from opendt.traces import read_trace
from opendt.traces.convert import SwfOptions, convert_trace, read_bitbrains, read_swf

HEADER = (
    "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\tCPU usage [%];\t"
    "Memory capacity provisioned [KB];\tMemory usage [KB];\tDisk read throughput [KB/s]"
)
VM = [
    "1376314846;\t4;\t11704.0;\t1000.5;\t8.5;\t67108864.0;\t6129274.4;\t0.0",
    "1376315146;\t4;\t11704.0;\t0.0;\t0.0;\t67108864.0;\t6129274.4;\t0.0",
    "1376315746;\t4;\t11704.0;\t2000.0;\t17.0;\t67108864.0;\t6129274.4;\t0.0",
]

#       job submit wait run procs cpu mem  req ...
SWF = """; Version: 2.2
; UnixStartTime: 1000000000
; MaxNodes: 4

  1    0   5  100  4   50  200   4  200  -1  1  1  1  1  1  1  -1 -1
  2   10   0   60 -1   -1   -1   2   60 512  1  1  1  1  1  1  -1 -1
  3   20   0    0  8   -1   -1   8   60  -1  5  1  1  1  1  1  -1 -1
  4   30   0   60 -1   -1   -1  -1   60  -1  0  1  1  1  1  1  -1 -1
  5    5   0   60 10   90   -1  10   60  -1  1  1  1  1  1  1  -1 -1
"""


@pytest.fixture
def machines(tmp_path):
    """A folder of two machines; the second one starts earlier and has one sample in milliseconds."""
    folder = tmp_path / "rnd"
    folder.mkdir()
    (folder / "2.csv").write_text("\n".join([HEADER, *VM]) + "\n")
    (folder / "10.csv").write_text(f"{HEADER}\n1376314000000;\t1;\t2926.0;\t5.0;\t0.1;\t1048576.0;\t1.0;\t0.0\n")
    return folder


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.swf"
    path.write_text(SWF)
    return path


def converted(read, source, tmp_path, **options):
    made = convert_trace(lambda check: read(source, check), tmp_path / "out", **options)
    return made, read_trace(tmp_path / "out").workload


def test_machine_becomes_a_task_and_each_sample_holds_until_the_next(machines, tmp_path):
    made, workload = converted(read_bitbrains, machines, tmp_path)
    tasks, fragments = workload.tasks, workload.fragments
    assert tasks.name.tolist() == ["10", "2"]
    assert tasks.submission_ms.tolist() == [1_376_314_000_000, 1_376_314_846_000]
    assert tasks.cpu_count.tolist() == [1, 4]
    assert tasks.cpu_capacity_mhz.tolist() == [2926.0, 11704.0]
    assert tasks.mem_capacity.tolist() == [1_048_576, 67_108_864]
    assert tasks.fragment_count.tolist() == [1, 3]
    assert fragments.duration_ms.tolist() == [300_000, 300_000, 600_000, 300_000]
    assert fragments.cpu_usage_mhz.tolist() == [5.0, 1000.5, 0.0, 2000.0]
    assert (made.tasks, made.tasks_run, made.fragments, made.dropped) == (2, 2, 4, {})


def test_unordered_and_repeated_samples_are_sorted_and_counted(machines, tmp_path):
    (machines / "2.csv").write_text("\n".join([HEADER, VM[1], VM[0], VM[1], VM[2]]))
    made, workload = converted(read_bitbrains, machines, tmp_path)
    assert workload.fragments.cpu_usage_mhz.tolist() == [5.0, 1000.5, 0.0, 2000.0]
    assert made.notes == {"samples out of time order, sorted": 1}
    assert made.dropped == {"sample with the time of an earlier one": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (VM[1].replace("0.0;\t0.0;\t67", "-1.0;\t0.0;\t67"), r"2\.csv line 3: cpu usage \[mhz\] is -1\.0; must be"),
        (VM[1].replace("0.0;\t0.0;\t67", "x;\t0.0;\t67"), r"2\.csv line 3: cpu usage \[mhz\] is 'x'; must be a number"),
        (VM[1].replace("0.0;\t0.0;\t67", "nan;\t0.0;\t67"), r"line 3: .* finite"),
        ("1;2", r"line 3: line has 2 columns"),
    ],
)
def test_bad_machine_line_is_named_or_counted(machines, tmp_path, line, message):
    (machines / "2.csv").write_text("\n".join([HEADER, VM[0], line, VM[2]]))
    with pytest.raises(TraceError, match=message) as caught:
        converted(read_bitbrains, machines, tmp_path)
    assert caught.value.line == 3
    assert not (tmp_path / "out").exists()
    made, workload = converted(read_bitbrains, machines, tmp_path, skip_invalid=True)
    assert sum(made.dropped.values()) == 1
    assert workload.fragments.duration_ms.tolist() == [300_000, 900_000, 300_000]


def test_missing_machine_column_and_empty_folder_are_named(machines, tmp_path):
    (machines / "2.csv").write_text(HEADER.replace("CPU cores;", "Cores;"))
    with pytest.raises(TraceError, match=r"2\.csv: column cpu cores is missing"):
        converted(read_bitbrains, machines, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceError, match="no CSV file here"):
        converted(read_bitbrains, tmp_path / "empty", tmp_path)
    (machines / "2.csv").write_text("")
    with pytest.raises(TraceError, match=r"2\.csv: is empty"):
        converted(read_bitbrains, machines, tmp_path)


def test_job_becomes_a_task_with_one_fragment(log, tmp_path):
    made, workload = converted(read_swf, log, tmp_path)
    tasks, fragments = workload.tasks, workload.fragments
    assert tasks.name.tolist() == ["1", "5", "2", "3"]  # by submit time
    assert tasks.submission_ms.tolist() == [1_000_000_000_000 + s * 1000 for s in (0, 5, 10, 20)]
    assert tasks.cpu_count.tolist() == [4, 10, 2, 8]
    assert tasks.mem_capacity.tolist() == [800, 0, 1024, 0]
    assert tasks.duration_ms.tolist() == [100_000, 60_000, 60_000, 0]
    assert tasks.fragment_count.tolist() == [1, 1, 1, 0]
    assert fragments.duration_ms.tolist() == [100_000, 60_000, 60_000]
    assert fragments.cpu_usage_mhz.tolist() == [4 * 2100 * 0.5, 10 * 2100, 2 * 2100]
    assert made.dropped == {"job without processors": 1}
    assert made.notes == {
        "job without run time, will not run": 1,
        "job without CPU time, taken as fully busy": 1,
        "job with more CPU time than run time, cut to run time": 1,
    }


def test_wide_jobs_are_split_over_hosts(log, tmp_path):
    made = convert_trace(lambda check: read_swf(log, check, SwfOptions(1000.0, 4)), tmp_path / "out")
    tasks = read_trace(tmp_path / "out").workload.tasks
    assert tasks.name.tolist() == ["1", "5.0", "5.1", "5.2", "2", "3.0", "3.1"]
    assert tasks.cpu_count.tolist() == [4, 4, 4, 2, 2, 4, 4]
    assert made.notes["job split over hosts"] == 2


def test_compressed_log_is_read_too(log, tmp_path):
    packed = tmp_path / "log.swf.gz"
    packed.write_bytes(gzip.compress(SWF.encode()))
    assert len(converted(read_swf, packed, tmp_path)[1].tasks) == 4
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(TraceError, match="cannot be read"):
        converted(read_swf, packed, tmp_path, force=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("6 1 2 3", r"log\.swf line 10: line has 4 fields; must have 18"),
        ("6 x 0 60 1 -1 -1 1 60 -1 1 1 1 1 1 1 -1 -1", r"line 10: submit time is 'x'; must be a number"),
        ("6 -9 0 60 1 -1 -1 1 60 -1 1 1 1 1 1 1 -1 -1", r"line 10: submit time is -9; must be at least 0"),
        ("1 9 0 60 1 -1 -1 1 60 -1 1 1 1 1 1 1 -1 -1", r"line 10: job number is 1, which an earlier line has"),
    ],
)
def test_bad_job_line_is_named_or_counted(log, tmp_path, line, message):
    log.write_text(SWF + line + "\n")
    with pytest.raises(TraceError, match=message):
        converted(read_swf, log, tmp_path)
    made, workload = converted(read_swf, log, tmp_path, skip_invalid=True)
    assert len(workload.tasks) == 4
    assert sum(made.dropped.values()) == 2


def test_file_without_jobs_and_bad_options_are_refused(log, tmp_path):
    log.write_text("; only a comment\n")
    with pytest.raises(TraceError, match="no usable job"):
        converted(read_swf, log, tmp_path)
    with pytest.raises(TraceError, match="no such file"):
        converted(read_swf, tmp_path / "none.swf", tmp_path)
    with pytest.raises(ConfigError, match="cores per host"):
        SwfOptions(cores_per_host=0)
    with pytest.raises(ConfigError, match="core speed"):
        SwfOptions(core_speed_mhz=float("nan"))


def test_command_converts_and_reports(log, tmp_path):
    words = ["trace", "convert", "--from", "swf", str(log), str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["tasks_run"] == 3
    assert CliRunner().invoke(app, words).exit_code == 2  # not empty
    again = CliRunner().invoke(app, [*words, "--force"])
    assert "note: 1 x job without processors" in again.stdout
    other = CliRunner().invoke(app, ["trace", "convert", "--from", "csv", str(log), str(tmp_path / "o")])
    assert (other.exit_code, "swf, gwa-bitbrains" in other.stderr) == (2, True)
