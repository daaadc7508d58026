"""Catalogue and store in Postgres: the same lake, several machines. Skipped where Postgres is not installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from opendt.errors import TransientError
from opendt.lake import Lake
from opendt.lake.sql_process import run_sql
from opendt.settings import LakeSettings, Settings, StoreSettings
from opendt.store import Store

from .conftest import make_window


def _account() -> str | None:
    """Postgres refuses to run as root: the account to start it as, None for our own."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("Postgres cannot run as root and there is no account postgres")


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """A server of its own on a free loopback port."""
    if not shutil.which("initdb") or not shutil.which("postgres"):
        pytest.skip("initdb and postgres are not on the PATH")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="opendt-pg-"))
    if account:
        shutil.chown(folder, account)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": account, "cwd": folder}
    subprocess.run(["initdb", "-D", data, "-U", "opendt", "-A", "trust", "--no-sync"], check=True, **quiet)
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"]
    server = subprocess.Popen(["postgres", "-D", str(data), *options], **quiet)
    try:
        for _ in range(300):
            ready = subprocess.run(["pg_isready", "-h", "127.0.0.1", "-p", str(port)], check=False, **quiet)
            if ready.returncode == 0:
                break
        subprocess.run(["createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "opendt", "lake"], check=True, **quiet)
        yield port
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture
def settings(postgres: int, tmp_path: Path) -> LakeSettings:
    catalog = f"postgres:dbname=lake host=127.0.0.1 port={postgres} user=opendt"
    return LakeSettings(path=tmp_path / "lake", catalog=catalog, data_path=str(tmp_path / "lake" / "data"))


def test_windows_rerun_views_and_sql_on_a_postgres_catalogue(settings: LakeSettings) -> None:
    with Lake.open(settings) as lake:
        lake.start_run("run-a", "dc", "twin")
        lake.commit_windows([make_window(0), make_window(1)])
        lake.commit_window(make_window(1, watts=5.0))
        lake.finish_run("run-a", "dc", "completed")
        assert lake.committed_windows("run-a") == [0, 1]
        saved = lake.latest_checkpoint("run-a", "dc")
        assert saved is not None
        assert saved.engine_state == b"engine-1"
        assert lake.maintain(keep_days=0.0).files_after >= 1
    found = run_sql(settings, "SELECT count(*) AS n, min(simulated_w) AS w FROM power")
    assert found.table.to_pylist() == [{"n": 8, "w": 5.0}]
    assert not (Path(settings.path) / "catalog.sqlite").exists()


def test_two_writing_processes_lose_nothing(settings: LakeSettings) -> None:
    Lake.open(settings).close()
    code = (
        "import sys; from opendt.lake import Lake; from opendt.settings import LakeSettings\n"
        "from tests.lake.conftest import make_window\n"
        "with Lake.open(LakeSettings.model_validate_json(sys.argv[1])) as lake:\n"
        "    for n in range(5): lake.commit_window(make_window(n, run_id=sys.argv[2]))\n"
    )
    root = Path(__file__).parents[2]
    text = settings.model_dump_json()
    writers = [subprocess.Popen([sys.executable, "-c", code, text, f"w-{n}"], cwd=root) for n in range(2)]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    with Lake.open(settings, read_only=True) as lake:
        counted = lake.rows("SELECT run_id, count(*) AS n FROM windows WHERE run_id LIKE 'w-%' GROUP BY 1 ORDER BY 1")
        assert counted == [{"run_id": "w-0", "n": 5}, {"run_id": "w-1", "n": 5}]


def test_store_lives_in_postgres_too(postgres: int, tmp_path: Path) -> None:
    url = f"postgresql+psycopg://opendt@127.0.0.1:{postgres}/lake"
    settings = Settings(lake=LakeSettings(path=tmp_path / "x"), store=StoreSettings(url=url))
    with Store.open(settings) as store:
        store.decide("p-1", "dc", "approved", decided_by="ann")
    with Store.open(settings, read_only=True) as store:
        assert [d.decision for d in store.decisions("dc")] == ["approved"]
    assert not (tmp_path / "x").exists()


def test_server_that_is_away_is_transient(tmp_path: Path) -> None:
    away = LakeSettings(
        path=tmp_path / "lake", catalog="postgres:dbname=lake host=127.0.0.1 port=9 password=secret", commit_attempts=1
    )
    with pytest.raises(TransientError) as caught:
        Lake.open(away)
    assert "secret" not in str(caught.value)
