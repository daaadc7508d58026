"""Samples in memory are those of the lake after every kind of commit, and read only where something changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from opendt.lake import Lake, WindowCommit
from opendt.lake.reader import LakeReader, RunKey
from opendt.lake.samples import ArrowQueries, PowerSamples
from opendt.settings import LakeSettings

Window = Callable[..., WindowCommit]
RUN = RunKey("run-a", "dc")
ALL = (
    "SELECT * EXCLUDE (run_id, datacenter) FROM power_samples WHERE run_id = 'run-a' AND datacenter = 'dc' "
    "ORDER BY timestamp_ms"
)


@pytest.fixture
def reader(settings: LakeSettings) -> Iterator[LakeReader]:
    made = LakeReader(settings)
    yield made
    made.close()


def held(samples: PowerSamples, reader: LakeReader) -> list[dict[str, object]]:
    found = samples.of(RUN, reader.commit())
    assert found is not None
    return found.to_pylist()


def test_samples_follow_new_replaced_and_late_windows(lake: Lake, reader: LakeReader, window: Window) -> None:
    samples = PowerSamples(reader)
    assert held(samples, reader) == []
    for index in (0, 1, 3, 1, 2, 0):  # 1 and 0 are written twice, 2 comes after 3
        lake.commit_window(window(index))
        assert held(samples, reader) == reader.rows(ALL)
    lake.commit_window(window(7, run_id="run-b"))
    lake.maintain()
    assert held(samples, reader) == reader.rows(ALL)
    assert len(held(samples, reader)) == 16


def test_only_changed_windows_are_read_again(
    lake: Lake, reader: LakeReader, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    query = reader.query
    monkeypatch.setattr(reader, "query", lambda sql, params=(): asked.append(sql) or query(sql, params))
    samples = PowerSamples(reader)
    lake.commit_windows([window(index) for index in range(3)])
    held(samples, reader)
    lake.commit_window(window(3))
    held(samples, reader)
    held(samples, reader)
    lake.commit_window(window(0, run_id="run-b"))
    held(samples, reader)
    of_samples = [sql for sql in asked if "power_samples" in sql]
    assert len(of_samples) == 2
    assert "window_index BETWEEN 3 AND 3" in of_samples[1]


def test_window_that_is_gone_takes_its_samples_with_it(lake: Lake, reader: LakeReader, window: Window) -> None:
    samples = PowerSamples(reader)
    lake.commit_windows([window(index) for index in range(3)])
    held(samples, reader)
    for table in ("windows", "power_samples"):
        lake.call(f"DELETE FROM {table} WHERE window_index = 1")
    assert held(samples, reader) == reader.rows(ALL)
    assert len(held(samples, reader)) == 8


def test_run_with_too_many_samples_is_not_kept(lake: Lake, reader: LakeReader, window: Window) -> None:
    samples = PowerSamples(reader, max_rows=8)
    lake.commit_windows([window(0), window(1)])
    assert len(held(samples, reader)) == 8
    lake.commit_window(window(2))
    assert samples.of(RUN, reader.commit()) is None
    lake.commit_window(window(3))
    assert samples.of(RUN, reader.commit()) is None


def test_answers_as_of_an_earlier_commit_do_not_undo_newer_samples(
    lake: Lake, reader: LakeReader, window: Window
) -> None:
    samples = PowerSamples(reader)
    lake.commit_window(window(0))
    early = reader.commit()
    lake.commit_window(window(1))
    assert len(held(samples, reader)) == 8
    assert samples.of(RUN, early).num_rows == 8  # type: ignore[union-attr]


def test_tables_in_memory_answer_like_the_lake(lake: Lake, reader: LakeReader, window: Window) -> None:
    lake.commit_windows([window(0), window(1)])
    found = PowerSamples(reader).of(RUN, reader.commit())
    assert found is not None
    means = "SELECT window_index AS i, avg(simulated_w) AS w FROM {} WHERE timestamp_ms > ? GROUP BY 1 ORDER BY 1"
    queries = ArrowQueries()
    assert queries.query(found, means.format("samples"), [0]).to_pylist() == reader.rows(means.format("power"), [0])
    queries.close()
