"""Many readers at once: versions per run, small answers kept for a moment, a replaced lake noticed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator

import pytest

from opendt.lake import Lake, WindowCommit
from opendt.lake.connection import NoLakeError
from opendt.lake.reader import LakeReader, RunKey
from opendt.settings import LakeSettings

Window = Callable[..., WindowCommit]
RUN = RunKey("run-a", "dc")


@pytest.fixture
def reader(settings: LakeSettings) -> Iterator[LakeReader]:
    made = LakeReader(settings, fresh_s=0.0)
    yield made
    made.close()


def test_version_changes_with_the_run_only(lake: Lake, reader: LakeReader, window: Window) -> None:
    lake.commit_window(window(0))
    first, snapshot = reader.version(RUN), reader.snapshot()
    lake.commit_window(window(0, run_id="run-b"))
    assert reader.version(RUN) == first
    assert reader.snapshot() != snapshot
    lake.commit_window(window(1))
    assert reader.version(RUN) != first


def test_recent_answers_are_kept_until_forgotten(settings: LakeSettings, lake: Lake, window: Window) -> None:
    reader = LakeReader(settings, fresh_s=1_000.0)
    count = "SELECT count(*) AS n FROM windows"
    assert reader.recent(count) == [{"n": 0}]
    lake.commit_window(window(0))
    assert reader.recent(count) == [{"n": 0}]
    assert reader.rows(count) == [{"n": 1}]
    assert reader.version(RUN, fresh=True) != ""
    reader.forget()
    assert reader.recent(count) == [{"n": 1}]
    reader.close()


def test_threads_read_side_by_side(lake: Lake, reader: LakeReader, window: Window) -> None:
    lake.commit_window(window(0))
    found: list[int] = []

    def read() -> None:
        found.extend(reader.rows("SELECT count(*) AS n FROM power")[0]["n"] for _ in range(5))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4] * 30


def test_lake_made_later_is_found_and_a_replaced_one_read_anew(
    settings: LakeSettings, reader: LakeReader, window: Window
) -> None:
    with pytest.raises(NoLakeError):
        reader.snapshot()
    with Lake.open(settings) as lake:
        lake.commit_window(window(0))
    assert reader.rows("SELECT count(*) AS n FROM windows") == [{"n": 1}]

    shutil.rmtree(settings.path)
    with pytest.raises(NoLakeError):
        reader.rows("SELECT 1")
    with Lake.open(settings):
        pass
    assert reader.rows("SELECT count(*) AS n FROM windows") == [{"n": 0}]
