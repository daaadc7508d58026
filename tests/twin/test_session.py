"""A twin session: what it commits, what it learns, and that taking it up again changes nothing."""

from __future__ import annotations

import pytest

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native.engine import NativeEngine
from opendt.errors import LakeBusyError, LakeError, SessionRewoundError
from opendt.lake import Lake
from opendt.twin.run import open_session
from opendt.twin.session import TwinSession
from opendt.windows.cut import cut_windows

HOUR_MS = 3_600_000
# What may differ between two runs of the same thing: wall clocks and durations.
CLOCKS = {"committed_ms", "wall_ms", "created_ms", "duration_ms"}


@pytest.fixture
def batches(world):
    return list(cut_windows(world.workload, world.power, HOUR_MS))


def process_all(session: TwinSession, batches) -> None:
    for batch in batches[session.next_index :]:
        session.process(batch)


def content(lake: Lake, run_id: str) -> dict[str, list]:
    """Every row a run has written, without clocks and run id."""
    found = {}
    for table in ("windows", "power_samples", "host_samples", "task_events", "calibrations", "calibration_trials"):
        columns = [c for c in lake.query(f"SELECT * FROM {table} LIMIT 0").column_names if c not in CLOCKS | {"run_id"}]
        rows = lake.query(f"SELECT {', '.join(columns)} FROM {table} WHERE run_id = ? ORDER BY ALL", [run_id])
        found[table] = rows.to_pylist()
    return found


def test_windows_add_up_to_a_run_without_windows(world, open_twin, batches):
    session = open_twin()
    process_all(session, batches)
    summary = session.finish()
    whole = simulate(NativeEngine(), world.topology, world.workload, EngineOptions(), world.carbon)
    assert summary.windows == len(batches)
    assert summary.tasks_run == whole.tasks_started
    assert summary.energy_uncalibrated_kwh == pytest.approx(whole.energy_j / 3.6e6, rel=1e-6)
    assert summary.tasks_seen == summary.tasks_run + summary.tasks_dropped == len(world.workload.tasks)
    assert summary.dropped == {"no fragments": 7}


def test_calibration_finds_the_hidden_curve_better_than_the_datasheet(open_twin, batches):
    session = open_twin()
    process_all(session, batches)
    summary = session.finish()
    assert summary.mape_pct < 0.5 * summary.uncalibrated_mape_pct
    assert summary.energy_kwh == pytest.approx(summary.energy_measured_kwh, rel=0.02)


def test_the_first_window_is_not_calibrated_with_its_own_readings(open_twin, batches):
    session = open_twin()
    process_all(session, batches)
    session.flush()
    first = session.lake.rows(
        "SELECT calibration_id, mape_pct, uncalibrated_mape_pct FROM windows ORDER BY window_index"
    )[0]
    assert first["calibration_id"] is None
    assert first["mape_pct"] == first["uncalibrated_mape_pct"]


def test_calibrations_use_only_readings_before_their_window(open_twin, batches):
    session = open_twin()
    process_all(session, batches)
    session.flush()
    rows = session.lake.rows(
        "SELECT c.trained_until_ms, w.start_ms FROM calibrations c "
        "JOIN windows w USING (run_id, datacenter, window_index)"
    )
    assert len(rows) >= len(batches) - 2
    assert all(row["trained_until_ms"] <= row["start_ms"] for row in rows)


@pytest.mark.parametrize("stop_after", [1, 5, 11])
def test_a_run_taken_up_again_ends_with_the_same_lake(open_twin, batches, stop_after):
    undisturbed = open_twin("whole")
    process_all(undisturbed, batches)
    undisturbed.finish()
    first = open_twin("halves")
    for batch in batches[:stop_after]:
        first.process(batch)
    first.flush()
    second = open_twin("halves")
    assert second.next_index == stop_after
    process_all(second, batches)
    summary = second.finish()
    assert summary.windows_recomputed == len(batches) - stop_after
    assert content(second.lake, "halves") == content(undisturbed.lake, "whole")


ENERGIES = ("energy_kwh", "energy_uncalibrated_kwh", "energy_measured_kwh", "carbon_kg")


@pytest.mark.parametrize("window_ms", [HOUR_MS, 25 * 60_000])
def test_energies_by_hour_add_up_to_the_totals_of_a_resumed_run(world, open_twin, window_ms):
    """Also where windows and hours do not end together."""
    batches = list(cut_windows(world.workload, world.power, window_ms))
    first = open_twin()
    for batch in batches[:3]:
        first.process(batch)
    first.flush()
    second = open_twin()
    process_all(second, batches)
    second.finish()
    [hours] = second.lake.rows(f"SELECT {', '.join(f'sum({name}) AS {name}' for name in ENERGIES)} FROM energy_by_hour")
    [totals] = second.lake.rows("SELECT * FROM run_totals")
    for name in ENERGIES:
        assert hours[name] == pytest.approx(totals[name], rel=1e-12)


def test_a_commit_that_fails_takes_the_session_back_to_the_last_committed_window(open_twin, batches, monkeypatch):
    session = open_twin()
    for batch in batches[:3]:
        session.process(batch)
    session.flush()
    with monkeypatch.context() as patch:
        patch.setattr(session.lake, "commit_prepared", _busy)
        session.process(batches[3])
        with pytest.raises(SessionRewoundError) as caught:
            session.flush()
    assert caught.value.next_index == session.next_index == 3
    process_all(session, batches)
    assert session.finish().windows == len(batches)
    assert session.lake.committed_windows("r") == list(range(len(batches)))


def _busy(*_args, **_kwargs):
    raise LakeBusyError("the lake is busy")


def test_windows_out_of_order_are_refused(open_twin, batches):
    session = open_twin()
    with pytest.raises(LakeError, match="window 1 came where window 0"):
        session.process(batches[1])


def test_a_run_id_belongs_to_one_trace(open_twin, batches):
    session = open_twin()
    session.process(batches[0])
    session.flush()
    with pytest.raises(LakeError, match="other contents"):
        open_twin(sha="another")


def test_a_failed_run_says_why_and_can_be_taken_up(open_twin, batches):
    session = open_twin()
    session.process(batches[0])
    session.fail("the cat pulled the plug")
    [row] = session.lake.rows("SELECT state, reason, windows FROM runs")
    assert row == {"state": "failed", "reason": "the cat pulled the plug", "windows": 1}
    again = open_twin()
    process_all(again, batches)
    again.finish()
    [row] = again.lake.rows("SELECT state, reason, windows FROM runs")
    assert row == {"state": "completed", "reason": None, "windows": len(batches)}


@pytest.mark.parametrize(("error", "state"), [(LakeError("the disk is full"), "failed"), (None, "cancelled")])
def test_a_run_that_ends_early_is_entered_with_what_is_committed(world, settings, monkeypatch, error, state):
    """Windows up to the sixth are committed one by one; those computed beyond never get there."""
    commit = Lake.commit_prepared

    def until_the_sixth(lake, windows):
        if windows[-1].commit.window_index >= 6:
            raise LakeError("the disk is full")
        return commit(lake, windows)

    monkeypatch.setattr(Lake, "commit_prepared", until_the_sixth)
    batches = list(cut_windows(world.workload, world.power, HOUR_MS))
    raised = pytest.raises(LakeError if error else KeyboardInterrupt)
    with raised, open_session(settings, "r", topology=world.topology, carbon=world.carbon) as session:
        for batch in batches[:6]:
            session.process(batch)
            session.flush()
        session.process(batches[6])
        if error is None:
            raise KeyboardInterrupt
        session.flush()
    with Lake.open(settings.lake, read_only=True) as lake:
        [row] = lake.rows("SELECT * FROM runs")
        [totals] = lake.rows("SELECT * FROM run_totals")
    assert row["state"] == state
    assert row["reason"].count("the disk is full") == 1
    assert row["windows"] == totals["windows"] == session.next_index == 6
    same = ("energy_kwh", "energy_uncalibrated_kwh", "energy_measured_kwh", "carbon_kg", "mape_pct")
    for name in (*same, "tasks_seen", "tasks_run", "fragments"):
        assert row[name] == pytest.approx(totals[name], rel=1e-9)


def test_tasks_that_never_run_are_in_the_lake_with_the_reason(open_twin, batches):
    session = open_twin()
    process_all(session, batches)
    session.flush()
    rows = session.lake.rows("SELECT reason, count(*) AS n FROM task_events WHERE event = 'dropped' GROUP BY 1")
    assert rows == [{"reason": "no fragments", "n": 7}]
