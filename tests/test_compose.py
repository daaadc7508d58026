"""docker-compose.yml: pinned images, health checks, volumes that exist, settings and commands that are real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from opendt.cli import app
from opendt.settings import KNOWN_ENVIRONMENT, load_settings

ROOT = Path(__file__).parents[1]
SERVICES = ("kafka", "postgres", "topics", "prefect", "deploy", "worker", "api", "grafana")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_every_part_of_the_stack_is_there(compose):
    assert set(compose["services"]) == set(SERVICES)


def test_foreign_images_are_pinned_to_a_version(compose):
    for name, service in compose["services"].items():
        if service["image"] != "opendt":
            assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), name


def test_every_service_that_stays_has_a_health_check_and_is_restarted(compose):
    for name, service in compose["services"].items():
        stays = service["restart"] == "unless-stopped"
        assert stays == ("test" in service["healthcheck"]), name


def test_dependencies_wait_for_health_or_success(compose):
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            once = compose["services"][other]["restart"] == "no"
            wanted = "service_completed_successfully" if once else "service_healthy"
            assert how["condition"] == wanted, f"{name} → {other}"


def test_named_volumes_are_declared_and_files_mounted_exist(compose):
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./data/"):
                continue  # made on first use
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
            else:
                assert source in compose["volumes"], f"{name}: {source}"


def test_ports_are_open_to_this_machine_only(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_settings_in_the_environment_are_real(compose):
    for service in compose["services"].values():
        given = service.get("environment", {})
        ours = {name: "x" if "${" in str(v) else str(v) for name, v in given.items()
                if re.match(r"OPENDT_.*__", name) or name in KNOWN_ENVIRONMENT}  # fmt: skip
        load_settings(environment=ours)


def test_commands_are_real(compose):
    commands = typer.main.get_command(app)
    for service in compose["services"].values():
        words = service.get("command", [])
        if words[:1] == ["opendt"]:
            command, context = commands, None
            for word in words[1:]:
                if word.startswith("-"):
                    break
                context = typer.Context(command, parent=context)
                command = command.get_command(context, word) if hasattr(command, "get_command") else None
                assert command is not None, words


def test_the_builder_is_sent_what_the_dockerfile_copies_and_no_more():
    dockerfile = (ROOT / "deployments" / "Dockerfile").read_text()
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_what_the_image_writes_by_default_lies_on_its_volume():
    dockerfile = (ROOT / "deployments" / "Dockerfile").read_text()
    volume = re.findall(r"^VOLUME (\S+)$", dockerfile, re.MULTILINE)
    assert re.findall(r"^WORKDIR (\S+)$", dockerfile, re.MULTILINE)[-1:] == volume
    places = dict(re.findall(r"(\w+)=(/data\S*)", dockerfile))
    assert {"OPENDT_LAKE__PATH", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "PREFECT_HOME",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY"} == set(places)  # fmt: skip


def test_the_compose_client_accepts_it():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker compose client is not installed")
    command = [docker, "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OPENDT_API_TOKEN": "x"}
    )
    assert done.returncode == 0, done.stderr
