"""Parquet files of the lake in an object store: the same results as in a folder. Skipped where no such server is.

Any S3-compatible server will do: the tests start ``moto_server`` if it is on the PATH or beside Python
(``pip install 'moto[server]'`` in an environment of its own), or use the one at ``OPENDT_TEST_S3`` (host:port, whose
keys are in ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.parameters import PipelineParameters
from flows.pipeline import pipeline
from opendt.errors import LakeError
from opendt.lake import Lake
from opendt.lake.connection import attach_sql, data_path, extensions
from opendt.lake.maintain import maintain
from opendt.settings import LakeSettings, load_settings
from opendt.twin.totals import RunSummary

from .conftest import free_port

KEYS = {"AWS_ACCESS_KEY_ID": "opendt", "AWS_SECRET_ACCESS_KEY": "opendt-secret"}


def server_program() -> str | None:
    beside = Path(sys.executable).with_name("moto_server")
    return str(beside) if beside.exists() else shutil.which("moto_server")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory) -> Iterator[str]:
    """host:port of a server."""
    given = os.environ.get("OPENDT_TEST_S3")
    if given:
        yield given
        return
    program = server_program()
    if program is None:
        pytest.skip("no S3-compatible server: moto_server is not on the PATH and OPENDT_TEST_S3 names none")
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=subprocess.STDOUT
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture
def bucket(endpoint) -> str:
    """A new bucket; its address as a data path."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    signed = f"AWS4-HMAC-SHA256 Credential={KEYS['AWS_ACCESS_KEY_ID']}/20260101/us-east-1/s3/aws4_request"
    request = urllib.request.Request(f"http://{endpoint}/{name}", method="PUT", headers={"Authorization": signed})
    urllib.request.urlopen(request, timeout=30)
    return f"s3://{name}/dc"


def variables(endpoint: str, bucket: str) -> dict[str, str]:
    """What people set to have the lake's files in a store like MinIO."""
    return KEYS | {
        "OPENDT_LAKE__DATA_PATH": bucket, "OPENDT_LAKE__S3_ENDPOINT": endpoint,
        "OPENDT_LAKE__S3_PATH_STYLE": "true", "OPENDT_LAKE__S3_USE_TLS": "false",
    }  # fmt: skip


def in_store(path: Path, endpoint: str, bucket: str) -> LakeSettings:
    return load_settings(None, {"lake.path": path}, environment=variables(endpoint, bucket)).lake


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    folder = tmp_path_factory.mktemp("object-store") / "half"
    make_trace(folder, SyntheticOptions(days=0.5, hosts=8, seed=3))
    return folder


def run(trace: Path, lake: Path) -> RunSummary:
    return pipeline.fn(PipelineParameters(trace=str(trace), lake=str(lake), run_id="run-1", optimize="off"))


@pytest.mark.slow
def test_a_run_with_its_files_in_an_object_store_gives_the_same_lake(endpoint, bucket, trace, tmp_path, monkeypatch):
    stored, folder = tmp_path / "stored", tmp_path / "folder"
    here = run(trace, folder)
    with monkeypatch.context() as environment:
        for name, value in variables(endpoint, bucket).items():
            environment.setenv(name, value)
        there = run(trace, stored)
        again = run(trace, stored)
    assert there.energy_kwh == here.energy_kwh
    assert again.windows_recomputed == 0, "a resumed run finds its checkpoint there"

    with Lake.open(in_store(stored, endpoint, bucket)) as lake:
        maintain(lake)  # rewrites files in the bucket
        kept = lake.rows("SELECT * FROM power_samples ORDER BY timestamp_ms")
    with Lake.open(LakeSettings(path=folder), read_only=True) as lake:
        assert kept == lake.rows("SELECT * FROM power_samples ORDER BY timestamp_ms")
    assert not list(stored.rglob("*.parquet")), "files belong in the bucket"


def test_addresses_and_keys_of_a_store_reach_duckdb_and_nobody_else(tmp_path):
    settings = in_store(tmp_path / "lake", "store.example:9000", "s3://bucket/dc/")
    assert data_path(settings) == "s3://bucket/dc/"
    assert extensions(settings) == ("ducklake", "sqlite_scanner", "httpfs")
    assert "opendt-secret" not in attach_sql(settings)
    assert "opendt-secret" not in str(settings.model_dump(mode="json"))


def test_a_store_out_of_reach_is_one_sentence_without_the_secret(tmp_path):
    settings = in_store(tmp_path / "lake", f"127.0.0.1:{free_port()}", "s3://nowhere/dc")
    rows = [{"run_id": "r", "datacenter": "dc", "window_index": 0, "timestamp_ms": n} for n in range(5000)]
    with pytest.raises(LakeError) as caught, Lake.open(settings) as lake:
        lake.insert("power_samples", rows)
    assert "opendt-secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
