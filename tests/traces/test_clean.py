"""`opendt trace convert --from opendc`: a trace written again without the rows that cannot be used."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.errors import TraceError
from opendt.traces import read_trace
from opendt.traces.convert.opendc import clean_trace
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions

NAN = float("nan")


def test_what_the_error_recommends_works(tiny, tmp_path):
    folder = tiny(fragments_cpu_usage=[3000.0, NAN, 0.0], carbon={"timestamp": [0], "carbon_intensity": [-1.0]})
    with pytest.raises(TraceError) as caught:
        read_trace(folder)
    words = shlex.split(re.search(r"opendt (trace convert .*)\.$", caught.value.message)[1])
    dest = str(tmp_path / "clean")
    words = [{"SRC": str(folder), "DEST": dest}.get(word, word) for word in words]

    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 2  # no carbon intensity is left at all
    assert "carbon.parquet: no valid row is left" in " ".join(result.output.split())
    (folder / "carbon.parquet").unlink()
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dropped"] == {"fragment cpu_usage not finite": 1}
    assert read_trace(dest).workload.fragments.cpu_usage_mhz.tolist() == [0.0, 3000.0]


def test_a_good_trace_stays_what_it_is_with_power_carbon_and_topology(tmp_path):
    make_trace(tmp_path / "made", SyntheticOptions(days=0.2, hosts=5, seed=2))
    done = clean_trace(tmp_path / "made", tmp_path / "again")
    before, after = read_trace(tmp_path / "made"), read_trace(tmp_path / "again")
    assert (done.dropped, done.tasks, done.fragments) == ({}, before.report.tasks, before.report.fragments)
    assert before.sha256["topology.json"] == after.sha256["topology.json"]
    for series in ("power", "carbon"):
        for name in getattr(before, series).__slots__:
            np.testing.assert_array_equal(getattr(getattr(before, series), name), getattr(getattr(after, series), name))
    for part, names in (("tasks", ("task_id", "submission_ms", "duration_ms", "cpu_count", "cpu_capacity_mhz")),
                        ("fragments", ("task_id", "duration_ms", "cpu_usage_mhz"))):  # fmt: skip
        for name in names:
            one, other = (getattr(getattr(trace.workload, part), name) for trace in (before, after))
            np.testing.assert_array_equal(one, other)


def test_the_topology_names_the_new_carbon_trace_not_the_old_one(tmp_path):
    made, again = tmp_path / "made", tmp_path / "again"
    make_trace(made, SyntheticOptions(days=0.1, hosts=3, seed=2))
    old = tmp_path / "elsewhere.parquet"
    (made / "carbon.parquet").rename(old)
    topology = (made / "topology.json").read_text().replace("carbon.parquet", str(old))
    (made / "topology.json").write_text(topology)
    clean_trace(made, again)
    assert again / "carbon.parquet" in read_trace(again).files


def test_without_skip_invalid_a_bad_row_is_an_error_and_no_folder_appears(tiny, tmp_path):
    with pytest.raises(TraceError, match="cpu_usage is -1"):
        clean_trace(tiny(fragments_cpu_usage=[-1.0, 1.0, 0.0]), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
