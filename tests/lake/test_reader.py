"""Many readers at once: versions per run, answers kept until the next commit, a lake that appears or is replaced."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from opendt.errors import LakeError
from opendt.lake import Lake, WindowCommit
from opendt.lake.connection import NoLakeError, connect
from opendt.lake.people import ReadOnlySession
from opendt.lake.reader import LakeReader, RunKey
from opendt.settings import LakeSettings

Window = Callable[..., WindowCommit]
RUN = RunKey("run-a", "dc")


@pytest.fixture
def reader(settings: LakeSettings) -> Iterator[LakeReader]:
    made = LakeReader(settings)
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


def test_answers_are_kept_until_the_next_commit_and_no_longer(
    lake: Lake, reader: LakeReader, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    query = reader.query
    monkeypatch.setattr(reader, "query", lambda sql, params=(): asked.append(sql) or query(sql, params))
    count = "SELECT count(*) AS n FROM windows"
    for index in range(3):
        assert [reader.recent(count) for _ in range(3)] == [[{"n": index}]] * 3
        lake.commit_window(window(index))
    assert asked == [count] * 3


def test_only_commits_that_change_its_tables_make_an_answer_old(
    lake: Lake, reader: LakeReader, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    query = reader.query
    monkeypatch.setattr(reader, "query", lambda sql, params=(): asked.append(sql) or query(sql, params))
    runs = "SELECT run_id FROM runs ORDER BY run_id"
    lake.start_run("run-a", "dc", "pipeline")
    assert reader.recent(runs, tables=("runs",)) == [{"run_id": "run-a"}]
    lake.commit_window(window(0))
    lake.maintain()
    assert reader.recent(runs, tables=("runs",)) == [{"run_id": "run-a"}]
    assert asked == [runs]
    lake.start_run("run-b", "dc", "pipeline")
    assert reader.recent(runs, tables=("runs",)) == [{"run_id": "run-a"}, {"run_id": "run-b"}]


def test_commits_forgotten_by_maintenance_make_every_answer_old(lake: Lake, reader: LakeReader, window: Window) -> None:
    runs = "SELECT count(*) AS n FROM runs"
    assert reader.recent(runs, tables=("runs",)) == [{"n": 0}]
    lake.start_run("run-a", "dc", "pipeline")
    for index in range(3):
        lake.commit_window(window(index))
    lake.maintain(keep_days=0)
    assert reader.recent(runs, tables=("runs",)) == [{"n": 1}]


def test_no_thread_gets_an_answer_from_before_it_asked(lake: Lake, reader: LakeReader, window: Window) -> None:
    count = "SELECT count(*) AS n FROM windows"
    written, ended = [0], threading.Event()
    failures: list[tuple[int, int]] = []

    def read() -> None:
        while not ended.is_set():
            least = written[0]
            found = reader.recent(count)[0]["n"]
            if found < least:
                failures.append((found, least))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for index in range(12):
        lake.commit_window(window(index))
        written[0] = index + 1
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert reader.recent(count) == [{"n": 12}]


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


def test_lake_without_tables_is_no_lake_yet(settings: LakeSettings, reader: LakeReader) -> None:
    settings.path.mkdir(parents=True, exist_ok=True)
    catalog = settings.path / "catalog.sqlite"
    catalog.touch()
    with pytest.raises(NoLakeError, match="just being created"):
        reader.snapshot()
    catalog.unlink()
    connect(settings).close()  # DuckLake's own tables, but none of ours
    for ask in (reader.snapshot, lambda: reader.rows("SELECT * FROM runs")):
        with pytest.raises(NoLakeError, match="just being created"):
            ask()
    with pytest.raises(NoLakeError, match="just being created"):
        ReadOnlySession(settings)
    with Lake.open(settings) as lake:
        lake.start_run("run-a", "dc", "pipeline")
    assert reader.rows("SELECT run_id FROM runs") == [{"run_id": "run-a"}]


def test_lake_locked_while_it_is_created_is_no_lake_yet(settings: LakeSettings) -> None:
    reader = LakeReader(settings.model_copy(update={"busy_timeout_ms": 200}))
    settings.path.mkdir(parents=True, exist_ok=True)
    code = (
        "import sqlite3, sys\n"
        "made = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "made.execute('BEGIN EXCLUSIVE'); made.execute('CREATE TABLE ducklake_metadata (key, value)')\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(settings.path / "catalog.sqlite")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as creator:
        assert creator.stdout is not None
        assert creator.stdout.readline() == b"locked\n"
        with pytest.raises(NoLakeError, match="just being created"):
            reader.snapshot()
        creator.kill()


def test_file_that_is_no_catalogue_is_said_to_be_unusable(settings: LakeSettings, reader: LakeReader) -> None:
    settings.path.mkdir(parents=True, exist_ok=True)
    (settings.path / "catalog.sqlite").write_bytes(b"something else entirely" * 100)
    with pytest.raises(LakeError) as caught:
        reader.snapshot()
    assert not isinstance(caught.value, NoLakeError)
