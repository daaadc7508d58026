"""People's SQL in a process that can be killed: the limits hold whatever the statement does."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import pyarrow as pa

from opendt.errors import LakeBusyError
from opendt.lake.people import SqlResult, StatementCancelledError, StatementMemoryError, StatementTimeoutError
from opendt.lake.sql_worker import read_frame, write_frame
from opendt.lake.statements import StatementError
from opendt.settings import LakeSettings

# How long a statement may take to notice its interrupt before its process is killed [s].
GRACE_S = 0.5


def run_sql(
    settings: LakeSettings, sql: str, *, max_rows: int | None = None, timeout_s: float | None = None
) -> SqlResult:
    """Run one read-only statement on a lake, in a process of its own.

    Args:
        max_rows: most rows returned; ``lake.sql_max_rows`` when None.
        timeout_s: longest time [s]; ``lake.sql_timeout_s`` when None.

    Raises:
        StatementError: malformed, not allowed, or too hungry. ``StatementTimeoutError`` when too slow.
        LakeError, LakeBusyError: no lake to read, or its catalogue is locked.
    """
    with SqlProcess(settings) as process:
        return process.run(sql, max_rows=max_rows, timeout_s=timeout_s)


class SqlProcess:
    """A process that runs one statement at a time; started when first needed and again after a kill."""

    def __init__(self, settings: LakeSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._killed_because = ""
        self._used = False

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()

    def __enter__(self) -> SqlProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """Stop the statement under way at once, from another thread."""
        self._kill("cancelled")

    def run(self, sql: str, *, max_rows: int | None = None, timeout_s: float | None = None) -> SqlResult:
        """Run one statement; parameters and errors as for ``run_sql``."""
        timeout_s = self._settings.sql_timeout_s if timeout_s is None else timeout_s
        with self._turn:
            if self._killed_because:  # after the last statement had ended; the process may not be gone yet
                self._end()
            self._killed_because = ""
            began, used = time.monotonic(), self._used
            answer = self._answer(sql, max_rows, timeout_s)
            if isinstance(answer[0], StatementMemoryError):
                self._end()  # what a hungry statement leaves behind would be missing for the next one
                left_s = timeout_s - (time.monotonic() - began)
                if used and left_s > 0:
                    answer = self._answer(sql, max_rows, left_s)
        return _result(answer)

    def _answer(self, sql: str, max_rows: int | None, timeout_s: float) -> tuple[Any, Any]:
        """(error, None) or (None, result)."""
        process = self._started()
        late = threading.Timer(timeout_s + GRACE_S, self._kill, args=("late",))
        late.daemon = True
        late.start()
        try:
            answer = _ask(process, (sql, max_rows, timeout_s))
        finally:
            late.cancel()
            late.join()
        if answer is None:
            self._end()
            return self._why_dead(timeout_s), None
        self._used = True
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._used = False
        command = [sys.executable, "-m", "opendt.lake.sql_worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        ready = _ask(self._process, self._settings)
        if ready is None or ready[0] is not None:
            self._end()
            if self._killed_because:  # nobody waits for it any more
                raise StatementCancelledError("the statement was cancelled.")
            raise ready[0] if ready else LakeBusyError("the SQL process did not start. Try again.")
        return self._process

    def _kill(self, why: str) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            self._killed_because = why
            process.kill()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # it died with a request half written
        process.kill()
        process.wait()

    def _why_dead(self, timeout_s: float) -> StatementError:
        if self._killed_because == "cancelled":
            return StatementCancelledError("the statement was cancelled.")
        if self._killed_because == "late":
            return StatementTimeoutError(
                f"the statement took longer than {timeout_s:g} s. Ask for less, or filter by run_id and time.",
                timeout_s=timeout_s,
            )
        return StatementMemoryError(
            f"the statement needs more than {self._settings.sql_memory_mb} MB. Ask for less, or filter first."
        )


class SqlPool:
    """A few SQL processes, kept warm and handed out one statement at a time."""

    def __init__(self, settings: LakeSettings, size: int = 2) -> None:
        self._processes = [SqlProcess(settings) for _ in range(size)]
        self._free: queue.LifoQueue[SqlProcess] = queue.LifoQueue()
        for process in self._processes:
            self._free.put(process)

    @contextmanager
    def process(self, wait_s: float) -> Iterator[SqlProcess]:
        """A free process. Raises ``LakeBusyError`` when none gets free within ``wait_s`` [s]."""
        try:
            chosen = self._free.get(timeout=wait_s)
        except queue.Empty:
            raise LakeBusyError("all SQL workers are busy with other statements. Try again.") from None
        try:
            yield chosen
        finally:
            self._free.put(chosen)

    def close(self) -> None:
        """End every process, also those at work."""
        for process in self._processes:
            process.cancel()
            process.close()


def _ask(process: subprocess.Popen[bytes], request: Any) -> Any:
    """The answer to a frame, or None when the process died."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        write_frame(process.stdin, request)
        return read_frame(process.stdout)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        return None


def _result(answer: tuple[Any, Any]) -> SqlResult:
    error, packed = answer
    if error is not None:
        raise error
    data, truncated, elapsed_s = packed
    return SqlResult(pa.ipc.open_stream(data).read_all(), truncated, elapsed_s)
