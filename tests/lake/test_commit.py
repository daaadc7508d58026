"""A window commits in one transaction; a rerun replaces its own rows and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from opendt.errors import LakeError
from opendt.lake import Lake, WindowCommit
from opendt.settings import LakeSettings

Window = Callable[..., WindowCommit]


def _count(lake: Lake, table: str) -> int:
    return lake.query(f"SELECT count(*) AS n FROM {table}")["n"][0].as_py()


def test_commit_writes_rows_window_and_checkpoint(lake: Lake, window: Window) -> None:
    lake.commit_window(window(0))

    assert _count(lake, "power_samples") == 4
    assert _count(lake, "task_events") == 3
    assert lake.rows("SELECT run_id, datacenter, window_index, state, start_ms, end_ms FROM windows") == [
        {
            "run_id": "run-a",
            "datacenter": "dc",
            "window_index": 0,
            "state": "closed",
            "start_ms": 0,
            "end_ms": 3_600_000,
        }
    ]
    saved = lake.latest_checkpoint("run-a", "dc")
    assert saved is not None
    assert (saved.engine_state, saved.twin_state, saved.offsets_json) == (b"engine-0", b"twin-0", '{"p0": 0}')
    assert saved.window_index == 0


def test_checkpoints_keep_only_the_last_row_of_each_run(lake: Lake, window: Window) -> None:
    for index in range(3):
        lake.commit_window(window(index))
    lake.commit_window(window(0, run_id="run-b"))

    assert lake.rows("SELECT run_id, window_index FROM checkpoints ORDER BY ALL") == [
        {"run_id": "run-a", "window_index": 2},
        {"run_id": "run-b", "window_index": 0},
    ]


def test_rerun_of_a_window_replaces_its_rows_and_no_others(lake: Lake, window: Window) -> None:
    lake.commit_windows([window(0), window(1)])
    lake.commit_window(window(1, run_id="run-b"))

    lake.commit_window(window(1, watts=2_000.0, samples=2))

    power = lake.rows(
        "SELECT run_id, window_index, count(*) AS n, max(simulated_w) AS w FROM power_samples GROUP BY ALL ORDER BY ALL"
    )
    assert power == [
        {"run_id": "run-a", "window_index": 0, "n": 4, "w": 1_000.0},
        {"run_id": "run-a", "window_index": 1, "n": 2, "w": 2_000.0},
        {"run_id": "run-b", "window_index": 1, "n": 4, "w": 1_000.0},
    ]
    assert lake.committed_windows("run-a", "dc") == [0, 1]


def test_rerun_in_another_process_is_noticed(settings: LakeSettings, lake: Lake, window: Window) -> None:
    lake.commit_window(window(0))
    with Lake.open(settings) as other:
        other.commit_window(window(1))
        lake.commit_window(window(1))

    assert _count(lake, "windows") == 2
    assert _count(lake, "power_samples") == 8


def test_rerun_drops_rows_of_tables_it_no_longer_writes(lake: Lake, window: Window) -> None:
    lake.commit_window(window(0))
    lake.commit_window(replace(window(0), rows={}))

    assert _count(lake, "power_samples") == 0
    assert _count(lake, "task_events") == 0
    assert _count(lake, "windows") == 1


def test_window_given_twice_in_one_commit_counts_once(lake: Lake, window: Window) -> None:
    lake.commit_windows([window(0), window(0, watts=5.0)])

    assert lake.rows("SELECT DISTINCT simulated_w FROM power_samples") == [{"simulated_w": 5.0}]


def test_only_the_last_state_of_a_batch_is_serialised(lake: Lake, window: Window) -> None:
    def never() -> bytes:
        raise AssertionError("the state of an earlier window was serialised")

    first = window(0)
    assert first.checkpoint is not None
    lake.commit_windows([replace(first, checkpoint=replace(first.checkpoint, engine_state=never)), window(1)])

    saved = lake.latest_checkpoint("run-a", "dc")
    assert saved is not None
    assert saved.engine_state == b"engine-1"


def test_commit_without_checkpoint_leaves_the_old_one(lake: Lake, window: Window) -> None:
    lake.commit_windows([window(0), window(1)])
    lake.commit_window(replace(window(0, state="reopened"), checkpoint=None))

    saved = lake.latest_checkpoint("run-a", "dc")
    assert saved is not None
    assert saved.window_index == 1


def test_failure_in_the_middle_of_a_commit_leaves_nothing(lake: Lake, window: Window) -> None:
    lake.commit_window(window(0))

    def broken() -> bytes:
        raise RuntimeError("state cannot be written")

    bad = window(1)
    assert bad.checkpoint is not None
    with pytest.raises(RuntimeError, match="state cannot be written"):
        lake.commit_window(replace(bad, checkpoint=replace(bad.checkpoint, engine_state=broken)))

    assert lake.committed_windows("run-a") == [0]
    assert _count(lake, "power_samples") == 4
    lake.commit_window(window(1))
    assert lake.committed_windows("run-a") == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"power_samples": {"timestamp_ms": [1], "watts": [2.0]}}, "no column watts"),
        ({"power_samples": {"timestamp_ms": ["noon"]}}, "column timestamp_ms takes BIGINT"),
        ({"power_samples": {"timestamp_ms": [1, 2], "simulated_w": [1.0]}}, "differ in length"),
        ({"power_samples": {"simulated_w": [1.0]}}, "timestamp_ms is part of the key"),
        ({"runs": {"kind": ["twin"]}}, "runs is not a window table"),
        ({"nonsense": {}}, "no table nonsense"),
    ],
)
def test_wrong_rows_are_refused_by_name_before_anything_is_written(
    lake: Lake, window: Window, rows: dict[str, object], message: str
) -> None:
    before = lake.snapshot()
    with pytest.raises(LakeError, match=message):
        lake.commit_window(replace(window(0), rows=rows))
    assert lake.snapshot() == before


def test_rows_may_be_arrow_columns_or_mappings_and_nan_becomes_null(lake: Lake, window: Window) -> None:
    times = np.arange(3, dtype=np.int64)
    watts = np.array([1.0, np.nan, 3.0])
    for index, rows in enumerate(
        (
            pa.table({"timestamp_ms": times, "simulated_w": watts}),
            {"timestamp_ms": times, "simulated_w": watts},
            [{"timestamp_ms": int(t), "simulated_w": float(w)} for t, w in zip(times, watts, strict=True)],
        )
    ):
        lake.commit_window(replace(window(index), rows={"power_samples": rows}))

    found = lake.rows(
        "SELECT window_index, list(simulated_w ORDER BY timestamp_ms) AS w FROM power_samples GROUP BY 1 ORDER BY 1"
    )
    assert found == [{"window_index": index, "w": [1.0, None, 3.0]} for index in range(3)]


def test_run_keeps_its_start_and_gets_totals_from_its_windows(lake: Lake, window: Window) -> None:
    lake.start_run("run-a", "dc", "pipeline", trace="tiny", started_ms=5)
    lake.commit_windows([window(0), window(1)])
    lake.start_run("run-a", "dc", "pipeline", started_ms=5)
    lake.finish_run("run-a", "dc", "completed", wall_s=1.5)

    (run,) = lake.rows("SELECT * FROM runs")
    assert (run["state"], run["trace"], run["started_ms"], run["wall_s"]) == ("completed", "tiny", 5, 1.5)
    assert run["windows"] == 2
    assert run["tasks_seen"] == 2
    assert run["energy_kwh"] == pytest.approx(2.0)
    assert run["mape_pct"] == pytest.approx(100 / 11)
    assert run["ended_ms"] >= 5


def test_upsert_replaces_rows_with_the_same_key(lake: Lake) -> None:
    lake.upsert("replays", [{"datacenter": "dc", "replay_id": "r1", "state": "running"}])
    lake.upsert("replays", [{"datacenter": "dc", "replay_id": r, "state": "completed"} for r in ("r1", "r2")])

    assert lake.rows("SELECT replay_id, state FROM replays ORDER BY 1") == [
        {"replay_id": "r1", "state": "completed"},
        {"replay_id": "r2", "state": "completed"},
    ]
    with pytest.raises(LakeError, match="same key"):
        lake.upsert("replays", [{"datacenter": "dc", "replay_id": "r1"}] * 2)
