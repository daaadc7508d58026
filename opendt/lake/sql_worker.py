"""The process that runs people's SQL: ``python -m opendt.lake.sql_worker``, started by ``opendt.lake.sql_process``.

A process of its own, because a single expression can keep DuckDB busy, or allocate, without looking whether it was
interrupted; a process can be killed and its memory capped by the system. Frames on stdin and stdout: eight bytes of
length, then a pickle (both ends are ours). First the settings, then (sql, max_rows, timeout_s) per statement; the
answer is (error, None) or (None, (Arrow IPC bytes, truncated, elapsed_s)).
"""

from __future__ import annotations

import os
import pickle
import resource
import struct
import sys
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from opendt.errors import OpenDTError
from opendt.lake.people import ReadOnlySession, SqlResult
from opendt.settings import LakeSettings

LENGTH = struct.Struct("<Q")

# What a statement may need beside DuckDB's own memory limit: the result as Arrow, statistics, catalogue rows [bytes].
BESIDE = 256 << 20


def main() -> None:
    """Serve statements until stdin ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing a library prints can spoil a frame
    settings: LakeSettings = read_frame(requests)
    pa.set_memory_pool(pa.system_memory_pool())  # the default one reserves a gigabyte at a time
    try:
        session = ReadOnlySession(settings)
    except OpenDTError as error:
        write_frame(answers, (error, None))
        return
    _packed(session.run("SELECT 1"))  # allocators reserve address space on first use; that is not to count
    _cap_memory(settings.sql_memory_mb)
    write_frame(answers, (None, None))
    with session:
        while (request := read_frame(requests)) is not None:
            write_frame(answers, _answer(session, *request))


def _answer(session: ReadOnlySession, sql: str, max_rows: int | None, timeout_s: float | None) -> tuple[Any, Any]:
    try:
        return None, _packed(session.run(sql, max_rows=max_rows, timeout_s=timeout_s))
    except OpenDTError as error:
        return error, None


def _packed(result: SqlResult) -> tuple[bytes, bool, float]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, result.table.schema) as writer:
        writer.write_table(result.table)
    return sink.getvalue().to_pybytes(), result.truncated, result.elapsed_s


def _cap_memory(megabytes: int) -> None:
    """Limit what the process may allocate from here on; allocators have reserved address space before."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.exists():
        reserved = int(statm.read_text().split()[5]) * resource.getpagesize()
        limit = reserved + (megabytes << 20) + BESIDE
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def read_frame(stream: IO[bytes]) -> Any:
    """The next frame's value, or None at the end of the stream."""
    head = stream.read(LENGTH.size)
    return pickle.loads(stream.read(LENGTH.unpack(head)[0])) if len(head) == LENGTH.size else None


def write_frame(stream: IO[bytes], value: Any) -> None:
    """Write a value as one frame."""
    data = pickle.dumps(value)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


if __name__ == "__main__":
    main()
