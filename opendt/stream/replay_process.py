"""A replay in a process of its own, so that encoding and decoding overlap.

``python -m opendt.stream.replay_process`` reads one line of JSON (the job, secrets included, which is why it comes that
way and not as arguments), then commands line by line: ``pause``, ``resume``, ``stop``. The end of its input means
stop: a replay never outlives who asked for it. It answers with lines of JSON: progress, then a report or an error.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from pydantic import SecretStr

from opendt import errors
from opendt.errors import OpenDTError, TransientError
from opendt.settings import StreamSettings
from opendt.stream.process import leave_signals_to_parent
from opendt.stream.replay import Replay, ReplayProgress, ReplayReport

_GRACE_S = 20.0
_ORPHAN_S = 5.0  # for what is on its way to the broker, once whoever asked is gone


class ReplayProcess:
    """Runs a replay elsewhere; a context manager that stops it when left.

    Args:
        trace: folder of the trace.
        settings: as for ``Replay``; ``bootstrap_servers`` must be set.
        datacenter: as for ``Replay``.
        replay_id: as for ``Replay``.
        start_sequences: as for ``Replay``.
        topology: topology file to send instead of the trace's.
        start_ms: send only what is submitted from here on [epoch ms].
        stop_ms: send only what happens before [epoch ms].
        loop: how many times to send the trace one after another.
        on_progress: called from another thread.
    """

    def __init__(
        self,
        trace: Path,
        settings: StreamSettings,
        datacenter: str,
        replay_id: str,
        *,
        start_sequences: Mapping[tuple[str, int], int] | None = None,
        topology: Path | None = None,
        start_ms: int | None = None,
        stop_ms: int | None = None,
        loop: int = 1,
        on_progress: Callable[[ReplayProgress], None] | None = None,
    ) -> None:
        starts = None
        if start_sequences is not None:
            starts = [[topic, partition, n] for (topic, partition), n in start_sequences.items()]
        self._job = {
            "trace": str(trace),
            "settings": _revealed(settings),
            "datacenter": datacenter,
            "replay_id": replay_id,
            "start_sequences": starts,
            "topology": None if topology is None else str(topology),
            "start_ms": start_ms,
            "stop_ms": stop_ms,
            "loop": loop,
        }
        self._on_progress = on_progress
        self._results: queue.Queue[ReplayReport | OpenDTError] = queue.Queue()
        self._result: ReplayReport | OpenDTError | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None

    def __enter__(self) -> ReplayProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id, None before the start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, "-m", "opendt.stream.replay_process"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._tell(orjson.dumps(self._job))

    def stop(self) -> None:
        """Ask it to stop and flush."""
        self._tell(b"stop")

    def pause(self) -> None:
        """Hold back until ``resume``."""
        self._tell(b"pause")

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._tell(b"resume")

    def poll(self) -> ReplayReport | None:
        """The report if the replay has ended, else None. Raises its error if it failed."""
        if self._result is None:
            try:
                self._result = self._results.get_nowait()
            except queue.Empty:
                return None
        if isinstance(self._result, OpenDTError):
            raise self._result
        return self._result

    def wait(self, timeout_s: float | None = None) -> ReplayReport:
        """The report when the replay has ended.

        Raises:
            OpenDTError: what the replay raised.
            TransientError: it did not end in time, or was killed.
        """
        if self._result is None:
            try:
                self._result = self._results.get(timeout=timeout_s)
            except queue.Empty:
                raise TransientError(f"the replay did not end within {timeout_s:g} s. Try again.") from None
        if isinstance(self._result, OpenDTError):
            raise self._result
        return self._result

    def close(self) -> None:
        """Stop it if it runs and wait for its end."""
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join(_GRACE_S)

    def _tell(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has ended; its report or error says how

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._hear(orjson.loads(line))
        code = self._process.wait()
        self._results.put(TransientError(f"the replay process ended without a report (exit code {code}). Try again."))

    def _hear(self, answer: dict[str, Any]) -> None:
        if "progress" in answer:
            if self._on_progress is not None:
                self._on_progress(ReplayProgress(**answer["progress"]))
        elif "report" in answer:
            self._results.put(ReplayReport(**answer["report"]))
        else:
            kind = getattr(errors, answer["error"], OpenDTError)
            self._results.put(kind(answer["message"], **answer["facts"]))


def _revealed(settings: StreamSettings) -> dict[str, Any]:
    secrets = {name: value.get_secret_value() for name, value in settings.security.items()}
    return settings.model_dump(mode="json") | {"security": secrets}


def _read_job(line: bytes) -> tuple[dict[str, Any], StreamSettings]:
    job = orjson.loads(line)
    settings = StreamSettings.model_validate(job["settings"])
    security = {name: SecretStr(value) for name, value in job["settings"]["security"].items()}
    return job, settings.model_copy(update={"security": security})


def _prepare(job: dict[str, Any], settings: StreamSettings) -> Replay:
    from opendt.stream.selection import select
    from opendt.traces.reader import read_trace

    trace = read_trace(job["trace"], topology=job["topology"])
    starts = job["start_sequences"]
    return Replay(
        select(trace, job["start_ms"], job["stop_ms"]),
        settings,
        job["datacenter"],
        job["replay_id"],
        start_sequences=None if starts is None else {(topic, partition): n for topic, partition, n in starts},
        loop=job["loop"],
        on_progress=lambda progress: _answer({"progress": asdict(progress)}),
    )


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, default=str) + b"\n")
    sys.stdout.buffer.flush()


def _obey(replay: Replay, commands: FileIO) -> None:
    actions = {b"pause": replay.pause, b"resume": replay.resume, b"stop": replay.stop}
    for line in commands:
        actions.get(line.strip(), replay.stop)()
    replay.stop()
    time.sleep(_ORPHAN_S)
    os._exit(1)  # the broker does not answer either; what it has not got is sent again by the next with this id


def main() -> None:
    """Do the job on standard input."""
    leave_signals_to_parent(lambda: os._exit(1))
    commands = FileIO(sys.stdin.fileno(), closefd=False)  # unbuffered: the listening thread may be cut off at exit
    job, settings = _read_job(commands.readline())
    try:
        replay = _prepare(job, settings)
        leave_signals_to_parent(replay.stop)
        threading.Thread(target=_obey, args=(replay, commands), daemon=True).start()
        _answer({"report": replay.run().as_dict()})
    except OpenDTError as error:
        _answer({"error": type(error).__name__, "message": error.message, "facts": error.facts})


if __name__ == "__main__":
    main()
