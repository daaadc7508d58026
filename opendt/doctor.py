"""What works on this machine and what does not: one check per thing people trip over."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from opendt.errors import MissingDependencyError, OpenDTError
from opendt.settings import Settings

Status = Literal["ok", "warning", "problem"]

LEAST_PYTHON = (3, 11)
LEAST_FREE_GB = 1.0
# Packages that fail at run time, not at installation, when their versions do not fit together.
TOUCHY = (
    "prefect",
    "fastapi",
    "sqlalchemy",
    "duckdb",
    "duckdb-extension-ducklake",
    "numpy",
    "numba",
    "confluent-kafka",
)
_LIMIT = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*([<>=!~][^;]*)?")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what was looked at.
        status: ``ok``; ``warning`` for what only some uses need; ``problem`` for what stops the default configuration.
        found: what is there.
        fix: what to do, empty when all is well.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


def examine(settings: Settings) -> list[Check]:
    """Every check, in the order people should read them. Nothing is changed; a check that breaks is a problem."""
    checks: list[tuple[str, Callable[[Settings], Check]]] = [
        ("Python", check_python),
        ("packages", check_packages),
        ("lake", check_lake),
        ("disk", check_disk),
        ("Kafka", check_kafka),
        ("Prefect", check_prefect),
        ("ports", check_ports),
        ("Java", check_java),
        ("OpenDC", check_opendc),
        ("language model", check_llm),
    ]
    return [_guarded(name, check, settings) for name, check in checks]


def _guarded(name: str, check: Callable[[Settings], Check], settings: Settings) -> Check:
    try:
        return check(settings)
    except OpenDTError as error:
        return Check(name, "problem", error.message, "See the message.")


def check_python(settings: Settings) -> Check:
    """Python's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < LEAST_PYTHON:
        return Check("Python", "problem", found, "Install Python 3.11 and run `make setup`.")
    return Check("Python", "ok", f"{found} in {sys.prefix}")


def check_packages(settings: Settings) -> Check:
    """Whether the packages whose versions matter are there, within the limits of our own requirements."""
    wrong = list(wrong_versions(metadata.requires("opendt") or [], TOUCHY, _installed))
    if wrong:
        return Check("packages", "problem", "; ".join(wrong), "Run `make setup`, or pip install -r requirements.lock.")
    return Check("packages", "ok", ", ".join(f"{name} {_installed(name)}" for name in TOUCHY))


def wrong_versions(
    requirements: Iterable[str], names: Iterable[str], installed: Callable[[str], str | None]
) -> Iterable[str]:
    """A sentence for each named package that is absent or outside the requirement's limits."""
    limits = {}
    for line in requirements:
        match = _LIMIT.match(line)
        if match:
            limits[match.group(1).lower()] = match.group(2) or ""
    for name in names:
        version = installed(name)
        wanted = limits.get(name, "")
        if version is None:
            yield f"{name} is not installed"
        elif not all(_within(version, part.strip()) for part in wanted.split(",") if part.strip()):
            yield f"{name} {version} is not {wanted}"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _within(version: str, limit: str) -> bool:
    sign = re.match(r"[<>=!~]+", limit)
    assert sign is not None
    have, want = _numbers(version), _numbers(limit[sign.end() :])
    width = max(len(have), len(want))
    have, want = have + (0,) * (width - len(have)), want + (0,) * (width - len(want))
    return {">=": have >= want, ">": have > want, "<=": have <= want, "<": have < want, "==": have == want}.get(
        sign.group(), True
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0])[:4])


def check_lake(settings: Settings) -> Check:
    """Whether the lake can be read, or made where there is none."""
    from opendt.lake import Lake

    path = Path(settings.lake.path)
    if not settings.lake.catalog and not path.exists():
        parent = next(p for p in path.resolve().parents if p.exists())
        if _writable(parent):
            return Check("lake", "ok", f"none yet; {path} will be made by the first run")
        return Check("lake", "problem", f"{parent} cannot be written", "Name another folder with --lake.")
    with Lake.open(settings.lake, read_only=True) as lake:
        runs = lake.rows("SELECT count(*) AS runs FROM runs")[0]["runs"]
    if not settings.lake.catalog and not _writable(path):
        return Check("lake", "problem", f"{path} can be read but not written", f"Give yourself write access to {path}.")
    return Check("lake", "ok", f"{path}, {runs:,} run" + ("" if runs == 1 else "s"))


def _writable(folder: Path) -> bool:
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def check_disk(settings: Settings) -> Check:
    """Free space where the lake lies."""
    path = Path(settings.lake.path).resolve()
    place = next(p for p in (path, *path.parents) if p.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < LEAST_FREE_GB:
        return Check(
            "disk", "problem", f"{free_gb:.1f} GB free at {place}", "Free some, or run `opendt lake maintain`."
        )
    return Check("disk", "ok", f"{free_gb:,.0f} GB free at {place}")


def check_kafka(settings: Settings) -> Check:
    """Whether the configured brokers answer, or the embedded one starts."""
    from opendt.stream import kafka
    from opendt.stream.broker import broker

    given = settings.stream.bootstrap_servers
    try:
        with broker(settings.stream) as stream:
            cluster = kafka.cluster_id(kafka.admin(stream), stream)
    except OpenDTError as error:
        fix = "Start Kafka, correct KAFKA_BOOTSTRAP_SERVERS, or unset it to use the embedded broker."
        return Check("Kafka", "problem", error.message, fix)
    if given:
        return Check("Kafka", "ok", f"{given}, cluster {cluster}")
    return Check("Kafka", "ok", "embedded broker works (for trying out); KAFKA_BOOTSTRAP_SERVERS names a real one")


def check_prefect(settings: Settings) -> Check:
    """Whether the server of the settings is there."""
    version = prefect_version(f"http://{settings.prefect.host}:{settings.prefect.port}/api")
    address = f"{settings.prefect.host}:{settings.prefect.port}"
    if version is None:
        return Check("Prefect", "ok", f"no server on {address}; runs work without", "Start one with `opendt up`.")
    ours = _installed("prefect")
    if version != ours:
        fix = "Use the same version on both sides."
        return Check("Prefect", "warning", f"server {version} on {address}, but {ours} is installed here", fix)
    return Check("Prefect", "ok", f"server {version} on {address}")


def prefect_version(url: str, timeout_s: float = 1.0) -> str | None:
    """Version of the Prefect server whose API is at ``url``; None when nothing there answers as one."""
    try:
        with urllib.request.urlopen(f"{url}/admin/version", timeout=timeout_s) as answer:
            value = json.load(answer)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, str) else None


def check_ports(settings: Settings) -> Check:
    """Whether our ports are free, or taken by our own programs."""
    taken = []
    prefect = settings.prefect
    if not port_is_free(prefect.host, prefect.port) and not prefect_version(
        f"http://{prefect.host}:{prefect.port}/api"
    ):
        taken.append(f"{prefect.port} (prefect.port)")
    if settings.api.port and not port_is_free(settings.api.host, settings.api.port) and not _is_our_api(settings):
        taken.append(f"{settings.api.port} (api.port)")
    if taken:
        fix = "Stop what listens there, or set another port."
        return Check("ports", "warning", f"in use by another program: {', '.join(taken)}", fix)
    return Check("ports", "ok", f"{prefect.port} for Prefect and {settings.api.port} for the API are usable")


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _is_our_api(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"http://{settings.api.host}:{settings.api.port}/health", timeout=1.0) as answer:
            return "status" in json.load(answer)
    except (OSError, ValueError, TypeError):
        return False


def check_java(settings: Settings) -> Check:
    """Java, which only the engine opendc needs."""
    from opendt.engine.opendc.java import find_java

    try:
        found = find_java(settings.opendc.java_home)
    except MissingDependencyError as error:
        return Check("Java", _needed(settings), error.message, "Only for the engine opendc: install Java 21.")
    return Check("Java", "ok", f"{found.version} at {found.program}")


def check_opendc(settings: Settings) -> Check:
    """OpenDC's runner, which only the engine opendc needs."""
    from opendt.engine.opendc.install import find_runner

    try:
        found = find_runner(settings.opendc.home)
    except MissingDependencyError as error:
        return Check("OpenDC", _needed(settings), error.message, "Only for the engine opendc.")
    return Check("OpenDC", "ok", f"{found.home}, {len(found.jars)} jars")


def _needed(settings: Settings) -> Status:
    return "problem" if settings.engine.name == "opendc" else "warning"


def check_llm(settings: Settings) -> Check:
    """Whether a language model is configured. It is not called: that would cost money."""
    if settings.llm.api_key.get_secret_value():
        return Check("language model", "ok", f"{settings.llm.model}, key set (not tried)")
    used = settings.optimize.strategy == "llm"
    return Check(
        "language model", "warning" if used else "ok", "no key; rules propose instead", "Set OPENAI_API_KEY to use one."
    )
