"""Tiny trace folders, and the real ones where they are beside the project."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SHARED = Path(os.environ.get("OPENDT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
START_MS = 1_700_000_000_000

TASKS: dict[str, list[Any]] = {
    "id": ["10", "11", "x-12"],
    "submission_time": [START_MS, START_MS + 1_000, START_MS + 1_000],
    "duration": [60_000, 30_000, 5_000],
    "cpu_count": [4, 2, 1],
    "cpu_capacity": [8000.0, 4000.0, 2000.0],
    "mem_capacity": [100_000, 50_000, 1_000],
}
FRAGMENTS: dict[str, list[Any]] = {
    "id": ["11", "10", "10"],
    "duration": [30_000, 30_000, 30_000],
    "cpu_usage": [3000.0, 8000.0, 0.0],
}
TraceWriter = Callable[..., Path]


@pytest.fixture
def write_trace_files(tmp_path: Path) -> TraceWriter:
    """Write columns as the Parquet files of a trace folder: ``write(tasks={...}, fragments={...}, carbon={...})``."""

    def write(folder: str = "week", **files: dict[str, Any]) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, columns in files.items():
            pq.write_table(pa.table(columns), target / f"{name}.parquet")
        return target

    return write


@pytest.fixture
def tiny(write_trace_files: TraceWriter) -> TraceWriter:
    """Write a three-task trace; ``tasks_<column>=`` and ``fragments_<column>=`` replace a column, None removes it.

    Task 10 has fragments of 8000 and 0 MHz, 11 one of 3000 MHz, x-12 none. Other keywords are further files.
    """

    def make(folder: str = "week", **changes: Any) -> Path:
        files = {"tasks": dict(TASKS), "fragments": dict(FRAGMENTS)}
        for name, value in changes.items():
            table, _, column = name.partition("_")
            if not column:
                files[name] = value
            elif value is None:
                del files[table][column]
            else:
                files[table][column] = value
        return write_trace_files(folder, **files)

    return make


def _shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} is not in the folder shared beside the project (or OPENDT_SHARED)")
    return path


@pytest.fixture
def surf_dir() -> Path:
    """The SURF week."""
    return _shared("traces", "surf")


@pytest.fixture
def bitbrains_dir() -> Path:
    """The small Bitbrains trace."""
    return _shared("traces", "bitbrains-small")


@pytest.fixture
def golden_dir() -> Path:
    """OpenDC's reference scenarios."""
    return _shared("opendc", "golden")
