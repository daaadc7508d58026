"""Running the OpenDC program: one process group per experiment, a time limit, and failures told apart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opendt.engine.opendc.install import MAIN_CLASS, Installation
from opendt.errors import EngineBusyError, EngineError, OpenDTError

STDERR = "stderr.txt"
STDOUT = "stdout.txt"
_GRACE_S = 3.0
_TAIL_BYTES = 200_000
_CAUSE = re.compile(r'^(?:Exception in thread "[^"]*" |Caused by: )([\w.$]+)(?:: (.*))?$', re.MULTILINE)
_STARVED = (
    ("OutOfMemoryError", "Java ran out of memory"),
    ("insufficient memory for the Java Runtime", "the machine has too little free memory to start Java"),
    ("Cannot allocate memory", "the machine has too little free memory"),
    ("Cannot create GC thread", "the machine has no room for another Java process"),
    ("unable to create native thread", "the machine has no room for another thread"),
    ("No space left on device", "the disk is full"),
    ("Disk quota exceeded", "the disk quota is used up"),
    ("Too many open files", "too many files are open"),
)
_INCOMPLETE = ("NoClassDefFoundError", "ClassNotFoundException", "Could not find or load main class")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run of the program ended: exit status (negative: signal), None when the time limit struck."""

    status: int | None
    wall_s: float
    stderr: str


def command_line(
    installation: Installation, experiment: str, jvm_options: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """(arguments, extra environment) that run an experiment file, by the jars where they are, else by the script."""
    runner, java = installation.runner, installation.java
    arguments = ["--experiment-path", experiment]
    if runner.jars:
        classpath = f"{runner.home / 'lib'}{os.sep}*"
        return [str(java.program), *jvm_options, "-cp", classpath, MAIN_CLASS, *arguments], {}
    extra = {"JAVA_HOME": str(java.home), "JAVA_OPTS": " ".join(jvm_options)}
    return [str(runner.script), *arguments], extra


def run_program(arguments: Sequence[str], folder: Path, timeout_s: float, extra: dict[str, str]) -> Finished:
    """Run a program in ``folder`` until it ends or ``timeout_s`` has passed; its whole process group ends with it.

    Output goes to files in the folder, so that a talkative program can neither block nor fill memory.

    Raises ``EngineBusyError`` when the process cannot be started for want of resources, ``EngineError`` otherwise.
    """
    started = time.monotonic()
    with open(folder / STDOUT, "wb") as out, open(folder / STDERR, "wb") as err:
        try:
            process = subprocess.Popen(
                list(arguments), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**os.environ, **extra}, start_new_session=True,
            )  # fmt: skip
        except (BlockingIOError, MemoryError) as error:
            raise EngineBusyError(f"OpenDC could not be started ({error}). Try again later.") from None
        except OSError as error:
            raise _engine_error(f"could not be started: {error}. See `opendt engine info`") from None
        status: int | None
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
    return Finished(status, time.monotonic() - started, _tail(folder / STDERR))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it started: politely, then for good."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _tail(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def failure(finished: Finished, folder: Path, timeout_s: float) -> OpenDTError | None:
    """The error that describes how the program ended, None for success.

    ``EngineBusyError`` where the same run may succeed later (memory, disk, killed), else ``EngineError``.
    """
    kept = f"Output is kept in {folder}."
    if finished.status == 0:
        return None
    if finished.status is None:
        return _engine_error(
            f"did not end within {timeout_s:g} s. Some inputs never end (a task that fits no host, parents that never "
            f"complete); otherwise raise opendc.timeout_s. {kept}",
            reason="timeout",
            folder=folder,
        )
    for sign, meaning in _STARVED:
        if sign in finished.stderr:
            return EngineBusyError(
                f"OpenDC failed because {meaning}. Free some, or lower opendc.parallel, and try again. {kept}",
                engine="opendc", reason=meaning, folder=str(folder),
            )  # fmt: skip
    if finished.status in (-signal.SIGKILL, 128 + signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
        return EngineBusyError(
            f"OpenDC was killed by another process or by the system, often for want of memory. Try again. {kept}",
            engine="opendc", reason="killed", folder=str(folder),
        )  # fmt: skip
    cause = stack_cause(finished.stderr)
    hint = " The copy of OpenDC is incomplete." if any(sign in finished.stderr for sign in _INCOMPLETE) else ""
    return _engine_error(f"failed: {cause}.{hint} {kept}", reason=cause, status=finished.status, folder=folder)


def stack_cause(stderr: str) -> str:
    """The innermost cause of a Java stack trace in one sentence, else the last line that says something."""
    causes = _CAUSE.findall(stderr)
    if causes:
        name, message = causes[-1]
        short = name.rsplit(".", 1)[-1]
        return f"{short}: {message.strip().rstrip('.')}" if message.strip() else short
    lines = [line.strip() for line in stderr.replace("\r", "\n").splitlines()]
    useful = [line for line in lines if line and not line.startswith(("Simulating...", "WARNING:", "at "))]
    return useful[-1].rstrip(".") if useful else "it gave no reason"


def _engine_error(text: str, *, reason: str | None = None, folder: Path | None = None, **facts: object) -> EngineError:
    return EngineError(f"OpenDC {text}", engine="opendc", reason=reason or text, folder=str(folder or ""), **facts)
