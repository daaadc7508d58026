"""SQL of people's: what runs, what is refused, and that limits hold."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opendt.errors import LakeBusyError, LakeError
from opendt.lake import Lake, people, sql_process
from opendt.lake.people import (
    ReadOnlySession,
    StatementCancelledError,
    StatementMemoryError,
    StatementTimeoutError,
)
from opendt.lake.sql_process import SqlPool, SqlProcess, run_sql
from opendt.lake.statements import StatementError
from opendt.settings import LakeSettings

from .conftest import make_window
from .hostile import HUNGRY, REFUSED, SECRET


@pytest.fixture(scope="module")
def filled(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> LakeSettings:
    settings = LakeSettings(path=tmp_path_factory.mktemp("people") / "lake")
    shutil.copytree(empty_lake, settings.path)
    with Lake.open(settings) as lake:
        lake.start_run("run-a", "dc", "twin")
        lake.commit_windows([make_window(0), make_window(1)])
    return settings


@pytest.fixture(scope="module")
def session(filled: LakeSettings) -> Iterator[ReadOnlySession]:
    with ReadOnlySession(filled) as opened:
        yield opened


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT run_id FROM runs", 1),
        ("FROM power;", 8),
        ("SELECT * FROM lake.power -- with a comment", 8),
        ("SELECT * FROM lake.main.power_samples", 8),
        ("WITH t AS (SELECT * FROM power) SELECT count(*) FROM t", 1),
        ("WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t WHERE x < 5) SELECT * FROM t", 5),
        ("VALUES (1), (2)", 2),
        ("SELECT * FROM range(3), unnest([1, 2])", 6),
        ("SELECT * FROM power JOIN windows USING (run_id, datacenter, window_index)", 8),
        ("SHOW TABLES", 29),
        ("DESCRIBE accuracy", 14),
        ("SUMMARIZE power", 20),
        ("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' AND table_name = 'power'", 1),
        ("SELECT key FROM json_each('{\"a\": 1}')", 1),
        ("SELECT unit FROM dictionary WHERE table_name = 'power_samples' AND column_name = 'simulated_w'", 1),
    ],
)
def test_select_like_statements_run(session: ReadOnlySession, sql: str, rows: int) -> None:
    assert session.run(sql).table.num_rows == rows


def test_rows_beyond_the_limit_are_cut_and_order_is_kept(session: ReadOnlySession) -> None:
    result = session.run("SELECT range AS n FROM range(100000) ORDER BY n DESC", max_rows=3)
    assert result.table["n"].to_pylist() == [99_999, 99_998, 99_997]
    assert result.truncated
    assert not session.run("SELECT 1", max_rows=1).truncated


def test_an_open_session_sees_new_commits_and_can_look_back(settings: LakeSettings, lake: Lake) -> None:
    first = lake.commit_window(make_window(0)).snapshot
    with ReadOnlySession(settings) as session:
        lake.commit_window(make_window(1))
        assert session.run("SELECT count(*) AS n FROM windows").table["n"].to_pylist() == [2]
        then = session.run(f"SELECT count(*) AS n FROM windows AT (VERSION => {first})")
        assert then.table["n"].to_pylist() == [1]


def test_there_are_200_hostile_statements() -> None:
    assert len(set(REFUSED)) + len(HUNGRY) >= 200


def test_hostile_statements_are_refused_and_leave_no_trace(
    filled: LakeSettings, session: ReadOnlySession, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(SECRET)
    before = _files(tmp_path) | _files(filled.path)
    for statement in REFUSED:
        sql = statement.replace("{file}", str(secret)).replace("{folder}", str(tmp_path / "out"))
        sql = sql.replace("{catalog}", str(filled.path / "catalog.sqlite"))
        with pytest.raises(StatementError) as caught:
            pytest.fail(f"ran: {sql[:200]} gave {session.run(sql, timeout_s=5).table.to_pylist()[:3]}")
        assert SECRET not in str(caught.value)
    assert _files(tmp_path) | _files(filled.path) == before
    assert secret.read_text() == SECRET


def test_connection_alone_refuses_what_reaches_out(
    filled: LakeSettings, session: ReadOnlySession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer, with the first one switched off."""
    monkeypatch.setattr(people, "check_statement", lambda connection, sql, tables: sql)
    secret = tmp_path / "secret.csv"
    secret.write_text(SECRET)
    for sql in (
        f"SELECT * FROM read_text('{secret}')",
        f"SELECT * FROM '{secret}'",
        f"SELECT * FROM read_csv('{secret}')",
    ):
        with pytest.raises(StatementError, match=r"disabled by configuration|does not exist"):
            session.run(sql)
    for sql in ("SET memory_limit = '9GB'", "LOAD httpfs", f"COPY runs TO '{tmp_path}/x.csv'", "DELETE FROM runs"):
        with pytest.raises(Exception, match=r"locked|disabled (by|through) configuration|read-only"):
            session._connection.execute(sql)


def test_hungry_statements_end_at_their_limits(filled: LakeSettings) -> None:
    small = filled.model_copy(update={"sql_memory_mb": 256})
    with SqlProcess(small) as process:
        assert process.run("SELECT 1 AS n").table["n"].to_pylist() == [1]
        for sql in HUNGRY:
            started = time.monotonic()
            with pytest.raises(StatementError, match=r"longer than|needs more than"):
                pytest.fail(f"ran: {sql} {process.run(sql, timeout_s=0.2).elapsed_s}")
            assert time.monotonic() - started < 20.0, sql  # starting another process included
        assert process.run("SELECT count(*) AS n FROM power").table["n"].to_pylist() == [8]


def test_what_a_hungry_statement_leaves_behind_does_not_starve_the_next(
    filled: LakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, starved = sql_process._ask, [StatementMemoryError("the statement needs more than 1 MB.")]

    def asked(process, request):
        statement = isinstance(request, tuple)
        return (starved.pop(), None) if starved and statement else ask(process, request)

    with SqlProcess(filled) as process:
        process.run("SELECT 1")
        first = process._process
        monkeypatch.setattr(sql_process, "_ask", asked)
        assert process.run("SELECT 2 AS n").table["n"].to_pylist() == [2]
        assert process._process is not first
        assert not starved


def test_ordinary_statements_fit_into_little_memory(filled: LakeSettings) -> None:
    with SqlProcess(filled.model_copy(update={"sql_memory_mb": 256})) as process:
        for sql in ("FROM latest_run", "FROM run_totals", "SELECT * FROM power ORDER BY time DESC", "FROM tasks"):
            assert process.run(sql).table.num_rows > 0


def test_statement_that_ignores_its_interrupt_is_killed_with_its_process(filled: LakeSettings) -> None:
    with SqlProcess(filled.model_copy(update={"sql_memory_mb": 4_000})) as process:
        process.run("SELECT 1")
        started = time.monotonic()
        with pytest.raises(StatementTimeoutError, match=r"longer than 0\.1 s"):
            process.run("SELECT list_sort(range(100000000))[1]", timeout_s=0.1)
        assert time.monotonic() - started < 10.0
        assert process.run("SELECT 1").table.num_rows == 1


def test_cancel_while_the_process_starts_is_a_cancellation(filled: LakeSettings) -> None:
    with SqlProcess(filled) as process:

        def cancel_early() -> None:
            while process._process is None:
                time.sleep(0.001)
            process.cancel()

        early = threading.Thread(target=cancel_early)
        early.start()
        with pytest.raises(StatementCancelledError):
            process.run("SELECT 1")
        early.join()
        assert process.run("SELECT 1 AS x").table.to_pylist() == [{"x": 1}]


def test_cancel_stops_a_statement_at_once(filled: LakeSettings) -> None:
    with SqlProcess(filled) as process:
        process.run("SELECT 1")
        threading.Timer(0.2, process.cancel).start()
        started = time.monotonic()
        with pytest.raises(StatementCancelledError):
            process.run("SELECT count(*) FROM range(1000000000000)", timeout_s=30)
        assert time.monotonic() - started < 3.0


def test_pool_is_busy_when_every_process_is_at_work(filled: LakeSettings) -> None:
    pool = SqlPool(filled, size=1)
    with pool.process(0.1), pytest.raises(LakeBusyError, match="all SQL workers are busy"), pool.process(0.01):
        pass
    with pool.process(0.1) as process:
        assert process.run("SELECT 1").table.num_rows == 1
    pool.close()


def test_missing_lake_is_named_and_not_created(settings: LakeSettings) -> None:
    with pytest.raises(LakeError, match="there is no lake here"):
        run_sql(settings, "SELECT 1")
    assert not Path(settings.path).exists()


def test_errors_in_sql_say_where(session: ReadOnlySession) -> None:
    with pytest.raises(StatementError, match=r"watts[\s\S]*LINE"):
        session.run("SELECT watts FROM power")
    with pytest.raises(StatementError, match="no table or view 'powr'"):
        session.run("SELECT * FROM powr")


def _files(folder: Path) -> set[str]:
    found = {os.path.join(root, name) for root, _, names in os.walk(folder) for name in names}
    return {name for name in found if not name.endswith(("-wal", "-shm"))}
