"""Finding the OpenDC experiment runner: its jars or its start script, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from opendt.engine.opendc.java import Java, find_java
from opendt.errors import MissingDependencyError

MAIN_CLASS = "org.opendc.experiments.base.runner.ExperimentCli"
SCRIPT = "OpenDCExperimentRunner"
GET_IT = (
    "Get it from the repository atlarge-research/opendt on GitHub (folder opendc/bin/OpenDCExperimentRunner) and set "
    "OPENDC_HOME, or the setting opendc.home, to that folder. The native engine works without it."
)
# One jar of each part the runner cannot start without, by the beginning of its name.
NEEDED_JARS = (
    "opendc-experiments-base", "opendc-compute-simulator", "opendc-simulator-flow", "opendc-trace-parquet",
    "hadoop-common", "parquet-hadoop", "zstd-jni", "kotlin-stdlib",
)  # fmt: skip
_BELOW = ("", "OpenDCExperimentRunner", "opendc/bin/OpenDCExperimentRunner")


@dataclass(frozen=True, slots=True)
class Runner:
    """An installed runner: folder, jars (empty when only the start script is there) and content hash."""

    home: Path
    jars: tuple[Path, ...]
    script: Path | None
    content_hash: str

    @property
    def missing_jars(self) -> tuple[str, ...]:
        """Parts without a jar; always empty when the start script brings its own."""
        if not self.jars:
            return ()
        return tuple(part for part in NEEDED_JARS if not any(jar.name.startswith(part) for jar in self.jars))


@dataclass(frozen=True, slots=True)
class Installation:
    """Runner and Java together: everything needed to simulate with OpenDC."""

    runner: Runner
    java: Java

    @property
    def version(self) -> str:
        """Identifies the simulator: the first digits of the hash over its files."""
        return self.runner.content_hash[:12]


def find_installation(
    home: Path | None, java_home: Path | None, environment: Mapping[str, str] | None = None
) -> Installation:
    """Runner and Java; raises ``MissingDependencyError`` that says what is missing and how to get it."""
    runner = find_runner(home)
    if runner.missing_jars:
        raise MissingDependencyError(
            f"{runner.home}/lib lacks the jar(s) {', '.join(runner.missing_jars)}. The copy of OpenDC is incomplete. "
            + GET_IT,
            missing=list(runner.missing_jars),
        )
    return Installation(runner, find_java(java_home, environment))


def find_runner(home: Path | None) -> Runner:
    """The runner in or below ``home``; raises ``MissingDependencyError`` when there is none."""
    if home is None:
        raise MissingDependencyError(f"OpenDC is not set up: OPENDC_HOME is not set. {GET_IT}")
    for below in _BELOW:
        folder = (home.expanduser() / below).absolute()
        jars = tuple(sorted((folder / "lib").glob("*.jar")))
        script = next((p for p in (folder / "bin" / SCRIPT, folder / SCRIPT) if p.is_file()), None)
        if jars or script:
            files = jars or ((script,) if script else ())
            stamps = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)
            return Runner(folder, jars, script, _hash(stamps))
    raise MissingDependencyError(f"OpenDC is not in {home}: no lib/*.jar and no bin/{SCRIPT}. {GET_IT}")


@lru_cache(maxsize=8)
def _hash(stamps: tuple[tuple[str, int, int], ...]) -> str:
    """Hash over names and contents; the stamps make it recomputed when a file changes."""
    total = hashlib.blake2b(digest_size=20)
    for name, _, _ in stamps:
        with open(name, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{Path(name).name} {content}\n".encode())
    return total.hexdigest()
