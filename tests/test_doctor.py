from __future__ import annotations

import json
import socket

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from opendt import doctor
from opendt.cli import app
from opendt.errors import LakeError
from opendt.settings import Settings, load_settings

REQUIREMENTS = ["prefect==3.8.8", "fastapi<0.151,>=0.115", "sqlalchemy<2.1,>=2.0.40", "psycopg[binary]>=3.2"]


def settings(tmp_path, **overrides) -> Settings:
    return load_settings(None, {"lake.path": tmp_path / "lake", **overrides}, environment={})


def wrong(**installed) -> list[str]:
    return list(doctor.wrong_versions(REQUIREMENTS, ["prefect", "fastapi", "sqlalchemy"], installed.get))


def test_versions_within_the_limits_are_fine():
    assert wrong(prefect="3.8.8", fastapi="0.150.0", sqlalchemy="2.0.57") == []


@pytest.mark.parametrize(
    ("package", "version"),
    [("fastapi", "0.157.0"), ("fastapi", "0.151"), ("sqlalchemy", "2.1.9"), ("prefect", "3.9.1"), ("fastapi", "0.9")],
)
def test_the_sets_that_fail_at_run_time_are_named(package, version):
    fine = {"prefect": "3.8.8", "fastapi": "0.150.0", "sqlalchemy": "2.0.57"}
    (sentence,) = wrong(**(fine | {package: version}))
    assert sentence.startswith(f"{package} {version} is not")


def test_an_absent_package_is_named():
    assert wrong(prefect="3.8.8", sqlalchemy="2.0.57") == ["fastapi is not installed"]


def test_this_environment_is_fine(tmp_path):
    assert doctor.check_python(settings(tmp_path)).status == "ok"
    assert doctor.check_packages(settings(tmp_path)).status == "ok"


def test_a_lake_that_is_not_there_yet_is_fine_and_not_made(tmp_path):
    found = doctor.check_lake(settings(tmp_path))
    assert (found.status, (tmp_path / "lake").exists()) == ("ok", False)


def test_a_lake_that_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "catalog.sqlite").write_text("not a database")
    found = {check.name: check for check in doctor.examine(settings(tmp_path))}["lake"]
    assert found.status == "problem"


def test_little_space_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: _Usage(0.5e9))
    found = doctor.check_disk(settings(tmp_path))
    assert found.status == "problem"
    assert "0.5 GB" in found.found


class _Usage:
    def __init__(self, free: float) -> None:
        self.free = free


def test_a_broker_that_does_not_answer_is_a_problem(tmp_path, monkeypatch):
    from opendt.stream import kafka

    monkeypatch.setattr(kafka, "TIMEOUT_S", 0.5)
    found = doctor.check_kafka(settings(tmp_path, **{"stream.bootstrap_servers": "127.0.0.1:1"}))
    assert found.status == "problem"
    assert "KAFKA_BOOTSTRAP_SERVERS" in found.fix


def test_without_a_broker_configured_the_embedded_one_is_tried(tmp_path):
    found = doctor.check_kafka(settings(tmp_path))
    assert found.status == "ok"
    assert "embedded" in found.found


def test_a_port_taken_by_another_program_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = doctor.check_ports(settings(tmp_path, **{"prefect.port": port, "api.port": 0}))
    assert found.status == "warning"
    assert str(port) in found.found


def test_java_and_opendc_are_needed_only_by_their_engine(tmp_path, monkeypatch):
    nowhere = {"opendc.home": tmp_path / "none", "opendc.java_home": tmp_path / "none"}
    assert doctor.check_opendc(settings(tmp_path, **nowhere)).status == "warning"
    assert doctor.check_java(settings(tmp_path, **nowhere)).status == "warning"
    assert doctor.check_opendc(settings(tmp_path, **nowhere, **{"engine.name": "opendc"})).status == "problem"
    assert doctor.check_java(settings(tmp_path, **nowhere, **{"engine.name": "opendc"})).status == "problem"


def test_keys_are_never_shown(tmp_path):
    secret = settings(tmp_path).model_copy(
        update={"llm": Settings().llm.model_copy(update={"api_key": SecretStr("s3")})}
    )
    assert "s3" not in str(doctor.check_llm(secret))


def test_a_check_that_breaks_is_a_problem_and_the_others_go_on(tmp_path, monkeypatch):
    def broken(_):
        raise LakeError("the catalogue is from the future")

    monkeypatch.setattr(doctor, "check_lake", broken)
    found = {check.name: check for check in doctor.examine(settings(tmp_path))}
    assert (found["lake"].status, found["lake"].found) == ("problem", "the catalogue is from the future")
    assert found["disk"].status == "ok"


def test_the_command_prints_one_json_array_and_fails_only_on_problems(tmp_path):
    done = CliRunner().invoke(app, ["doctor", "--lake", str(tmp_path / "lake"), "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == (1 if any(row["status"] == "problem" for row in rows) else 0)
    assert {"name", "status", "found", "fix"} == set(rows[0])
