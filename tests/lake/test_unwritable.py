"""Lakes that cannot be written: one sentence for who writes, answers for who reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opendt.cli import app
from opendt.errors import LakeError
from opendt.lake import Lake, WindowCommit
from opendt.lake.people import ReadOnlySession
from opendt.lake.unwritable import readable_copy
from opendt.settings import LakeSettings


@pytest.fixture
def unwritable(settings: LakeSettings, lake: Lake, window: Callable[..., WindowCommit], monkeypatch) -> LakeSettings:
    """A lake whose folder refuses what a read-only one refuses, to root as well: SQLite finds links to nowhere."""
    lake.start_run("run-a", "dc", "pipeline")
    lake.commit_window(window(0))
    lake.close()
    folder = Path(settings.path)
    (folder / ".writers.lock").unlink()
    (folder / ".writers.lock").mkdir()
    (folder / "catalog.sqlite-shm").symlink_to(folder / "nowhere" / "shm")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (folder, os.W_OK) and access(path, mode))
    return settings


def test_it_can_be_read(unwritable: LakeSettings) -> None:
    for _ in range(2):
        with Lake.open(unwritable, read_only=True) as lake:
            assert lake.committed_windows("run-a") == [0]
            assert lake.rows("SELECT count(*) AS n FROM power_samples") == [{"n": 4}]
    with ReadOnlySession(unwritable) as session:
        assert session.run("SELECT windows FROM latest_run").table.to_pylist() == [{"windows": 1}]
    result = CliRunner().invoke(app, ["runs", "--lake", str(unwritable.path)])
    assert result.exit_code == 0, result.output
    assert "run-a" in result.output


def test_one_copy_serves_every_reader_until_the_catalogue_changes(unwritable: LakeSettings) -> None:
    catalog = Path(unwritable.path) / "catalog.sqlite"
    first = readable_copy(catalog)
    assert readable_copy(catalog) == first
    assert first.read_bytes() == catalog.read_bytes()
    os.utime(catalog, ns=(1, 1))
    assert readable_copy(catalog) != first


def test_writing_is_refused_in_one_sentence(unwritable: LakeSettings) -> None:
    with pytest.raises(LakeError, match=r"lake: the lake cannot be written \(.+\)\. Make the .* writable.*--lake"):
        Lake.open(unwritable)


def test_a_catalogue_that_sqlite_may_not_write_is_named(unwritable: LakeSettings) -> None:
    (Path(unwritable.path) / ".writers.lock").rmdir()
    with pytest.raises(LakeError, match=r"cannot open the lake at .*: its folder cannot be written .*--lake"):
        Lake.open(unwritable)


def test_a_catalogue_with_commits_in_its_log_is_not_read_without_them(unwritable: LakeSettings) -> None:
    (Path(unwritable.path) / "catalog.sqlite-wal").write_bytes(b"commits")
    with pytest.raises(LakeError, match=r"its folder cannot be written"):
        Lake.open(unwritable, read_only=True)


def test_without_room_for_the_copy_it_says_what_to_do(unwritable: LakeSettings, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(Path(unwritable.path) / "nowhere"))
    with pytest.raises(LakeError, match=r"read-only, and its catalogue cannot be copied .*TMPDIR"):
        Lake.open(unwritable, read_only=True)
