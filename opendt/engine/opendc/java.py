"""Finding Java for the OpenDC runner: candidates in order of preference, each asked for its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from opendt.errors import MissingDependencyError

OLDEST_JAVA = 21  # class file version 65 of the runner's jars
_VERSION = re.compile(r'version "(?:1\.)?(\d+)([^"]*)"')
_KNOWN = ("/usr/lib/jvm/*", "/opt/java*", "/opt/jdk*", "/Library/Java/JavaVirtualMachines/*/Contents/Home",
          "~/.sdkman/candidates/java/*", "~/.jdks/*")  # fmt: skip
_VERSION_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Java:
    """A Java program: its path, where it was found, and its version (0 and a reason when it did not answer)."""

    program: Path
    source: str
    major: int
    version: str

    @property
    def usable(self) -> bool:
        """Whether the runner starts on it."""
        return self.major >= OLDEST_JAVA

    @property
    def home(self) -> Path:
        """The folder that ``JAVA_HOME`` would name."""
        return self.program.resolve().parent.parent


def find_java(java_home: Path | None, environment: Mapping[str, str] | None = None) -> Java:
    """The first Java that is new enough: the setting, ``JAVA_HOME``, ``PATH``, then known folders (newest first).

    A setting is binding: an unusable one is an error, not a reason to look elsewhere.

    Raises ``MissingDependencyError`` that lists what was found.
    """
    seen: list[Java] = []
    for java in candidates(java_home, environment):
        if java.usable:
            return java
        seen.append(java)
        if java_home is not None:
            break
    found = "; found " + ", ".join(f"{j.program} ({j.version}, from {j.source})" for j in seen) if seen else ""
    raise MissingDependencyError(
        f"OpenDC needs Java {OLDEST_JAVA} or newer{found}. Install a JDK {OLDEST_JAVA}+ (for example the package "
        f"openjdk-{OLDEST_JAVA}-jre-headless) or set JAVA_HOME or opendc.java_home to one.",
        found=[str(j.program) for j in seen],
    )


def candidates(java_home: Path | None, environment: Mapping[str, str] | None = None) -> Iterator[Java]:
    """Every Java worth a look, in order of preference, each program once."""
    seen: set[Path] = set()
    for program, source in _places(java_home, os.environ if environment is None else environment):
        real = program.resolve()
        if real in seen or not os.access(program, os.X_OK):
            continue
        seen.add(real)
        yield _ask(program, source)


def _places(java_home: Path | None, environment: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    if java_home is not None:
        yield _program(java_home), "opendc.java_home"
    if environment.get("JAVA_HOME"):
        yield _program(Path(environment["JAVA_HOME"])), "JAVA_HOME"
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path:
        yield Path(on_path).absolute(), "PATH"
    known = [_program(home) for pattern in _KNOWN for home in _glob(pattern)]
    present = {program.resolve(): program for program in known if os.access(program, os.X_OK)}
    for program in sorted(present.values(), key=lambda p: (-_ask(p, "").major, str(p))):
        yield program, "known location"


def _glob(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _program(home: Path) -> Path:
    return home.expanduser().absolute() / "bin" / "java"


def _ask(program: Path, source: str) -> Java:
    major, version = _version(str(program), program.stat().st_mtime_ns)
    return Java(program, source, major, version)


@lru_cache(maxsize=64)
def _version(program: str, modified_ns: int) -> tuple[int, str]:
    """(major, full version) of a Java program; (0, reason) when it does not say. Asked once per file state."""
    try:
        done = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 0, f"does not run: {error}"
    found = _VERSION.search(done.stderr + done.stdout)
    if found is None:
        return 0, "does not tell its version"
    return int(found.group(1)), found.group(1) + found.group(2)
