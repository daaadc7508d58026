"""Opening: what is created, migrated, refused; nothing is created by reading."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from opendt.errors import LakeBusyError, LakeError, OpenDTError
from opendt.lake import Lake, WindowCommit
from opendt.lake.connection import connect
from opendt.lake.retry import folder_lock, retrying
from opendt.lake.schema import TABLES
from opendt.settings import LakeSettings


def test_reading_where_no_lake_is_says_so_and_creates_nothing(settings: LakeSettings) -> None:
    with pytest.raises(LakeError, match=r"there is no lake here.*--lake"):
        Lake.open(settings, read_only=True)
    assert not Path(settings.path).exists()


def test_new_lake_has_every_declared_column(lake: Lake) -> None:
    found = lake.rows("SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'lake'")
    names = {(row["table_name"], row["column_name"]) for row in found}
    assert {(t.name, c.name) for t in TABLES for c in t.columns} <= names


def test_opening_again_changes_nothing(settings: LakeSettings) -> None:
    with Lake.open(settings) as lake:
        before = lake.snapshot()
    with Lake.open(settings) as lake:
        assert lake.snapshot() == before


def test_missing_column_and_table_are_added_and_extra_ones_stay(
    settings: LakeSettings, window: Callable[..., WindowCommit]
) -> None:
    with Lake.open(settings) as lake:
        lake.commit_window(window(0))
    old = connect(settings)
    old.execute("ALTER TABLE power_samples DROP COLUMN active_hosts")
    old.execute("ALTER TABLE power_samples ADD COLUMN room VARCHAR")
    old.execute("DROP TABLE replays")
    old.execute("CREATE OR REPLACE VIEW schema_version AS SELECT 'older' AS version")
    old.close()

    with Lake.open(settings) as lake:
        lake.commit_window(window(1))
        rows = lake.rows("SELECT window_index, active_hosts, room FROM power_samples ORDER BY timestamp_ms")
        assert len(rows) == 8
        assert rows[0] == {"window_index": 0, "active_hosts": None, "room": None}
        assert lake.rows("SELECT * FROM replays") == []


def test_column_of_another_type_is_refused_by_name(settings: LakeSettings) -> None:
    with Lake.open(settings):
        pass
    old = connect(settings)
    old.execute("ALTER TABLE replays DROP COLUMN trace")
    old.execute("ALTER TABLE replays ADD COLUMN trace DOUBLE")
    old.execute("CREATE OR REPLACE VIEW schema_version AS SELECT 'older' AS version")
    old.close()
    with pytest.raises(LakeError, match=r"replays\.trace is DOUBLE but VARCHAR is declared"):
        Lake.open(settings)


def test_lake_can_be_moved(settings: LakeSettings, tmp_path: Path, window: Callable[..., WindowCommit]) -> None:
    with Lake.open(settings) as lake:
        lake.commit_window(window(0, samples=60))
    Path(settings.path).rename(tmp_path / "elsewhere")
    with Lake.open(LakeSettings(path=tmp_path / "elsewhere"), read_only=True) as lake:
        assert lake.query("SELECT * FROM power").num_rows == 60


def test_reader_cannot_write(settings: LakeSettings, lake: Lake, window: Callable[..., WindowCommit]) -> None:
    with Lake.open(settings, read_only=True) as reader, pytest.raises(LakeError, match="for reading only"):
        reader.commit_window(window(0))
    with Lake.open(settings, read_only=True) as reader, pytest.raises(LakeError, match="read-only"):
        reader.query("DELETE FROM runs")


def test_time_travel_shows_what_was_known_then(
    settings: LakeSettings, lake: Lake, window: Callable[..., WindowCommit]
) -> None:
    first = lake.commit_window(window(0)).snapshot
    lake.commit_window(window(0, watts=9.0))
    with Lake.open(settings, as_of=first) as then:
        assert then.rows("SELECT DISTINCT simulated_w AS w FROM power") == [{"w": 1_000.0}]
    with Lake.open(settings, as_of=datetime.now(UTC) + timedelta(seconds=1)) as now:
        assert now.rows("SELECT DISTINCT simulated_w AS w FROM power") == [{"w": 9.0}]


def test_damaged_catalogue_is_an_error_of_ours(settings: LakeSettings) -> None:
    Path(settings.path).mkdir()
    (Path(settings.path) / "catalog.sqlite").write_bytes(b"this is not a database" * 100)
    with pytest.raises(OpenDTError, match="cannot open the lake"):
        Lake.open(settings)
    with pytest.raises(OpenDTError, match="cannot open the lake"):
        Lake.open(settings, read_only=True)


def test_works_without_a_home_directory(settings: LakeSettings) -> None:
    code = (
        "from opendt.lake import Lake; from opendt.settings import LakeSettings; import sys\n"
        "Lake.open(LakeSettings(path=sys.argv[1])).close()"
    )
    environment = {k: v for k, v in os.environ.items() if k not in {"HOME", "XDG_CACHE_HOME"}}
    subprocess.run(
        [sys.executable, "-c", code, str(settings.path)], check=True, env=environment | {"HOME": "/nonexistent"}
    )
    assert (Path(settings.path) / "catalog.sqlite").is_file()


def test_retrying_waits_longer_each_time_and_gives_up_as_busy() -> None:
    pauses: list[float] = []

    def locked() -> None:
        raise duckdb.TransactionException("Failed to commit: database is locked")

    with pytest.raises(LakeBusyError, match="4 times in a row") as caught:
        retrying(locked, attempts=4, what="cannot commit", sleep=pauses.append, jitter=lambda: 1.0)
    assert pauses == [0.02, 0.04, 0.08]
    assert caught.value.attempts == 4


def test_lasting_errors_are_not_retried() -> None:
    calls = 0

    def wrong() -> None:
        nonlocal calls
        calls += 1
        raise duckdb.CatalogException("Table x does not exist")

    with pytest.raises(LakeError, match="cannot commit: Table x does not exist"):
        retrying(wrong, attempts=4, what="cannot commit")
    assert calls == 1


def test_folder_lock_is_busy_for_the_second_writer(tmp_path: Path) -> None:
    with folder_lock(tmp_path, 1_000), pytest.raises(LakeBusyError, match="another writer"), folder_lock(tmp_path, 5):
        pass
    with folder_lock(tmp_path, 5):
        pass
