"""Power samples of runs in memory, brought up to date by reading only the windows that a commit changed.

A week of samples takes 3 MB. With them at hand every interval and every period is aggregated by DuckDB in a few
milliseconds, where asking the lake takes tens: it opens a transaction, reads the catalogue and then many small files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from opendt.lake.reader import Commit, LakeReader, RunKey

MAX_ROWS = 500_000  # of one run: half a year at 30 s; larger runs are asked of the lake
MAX_RUNS = 6


class _Held:
    """What is known of a run as of a commit: its windows, and their samples (None when there are too many)."""

    __slots__ = ("at", "samples", "turn", "windows")

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.at = Commit(-1, -1)
        self.windows: dict[int, int | None] = {}
        self.samples: pa.Table | None = None


class PowerSamples:
    """The samples of the runs asked for last; for any number of threads."""

    def __init__(self, lake: LakeReader, *, max_rows: int = MAX_ROWS, max_runs: int = MAX_RUNS) -> None:
        self._lake = lake
        self._max_rows = max_rows
        self._max_runs = max_runs
        self._held: OrderedDict[RunKey, _Held] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, run: RunKey, at: Commit) -> pa.Table | None:
        """All samples of a run, in order of time, as of a commit or later; None when there are too many to keep.

        Columns are those of table ``power_samples`` without the run's name.
        """
        with self._guard:
            held = self._held.setdefault(run, _Held())
            self._held.move_to_end(run)
            while len(self._held) > self._max_runs:
                self._held.popitem(last=False)
        found = self._lake.windows(run, at)
        windows = dict(zip(found["window_index"].to_pylist(), found["committed_ms"].to_pylist(), strict=True))
        with held.turn:
            if held.at.lake == at.lake and (held.at.number >= at.number or held.windows == windows):
                return held.samples
            if held.at.lake != at.lake or held.samples is None:
                held.samples = self._read(run)
            else:
                held.samples = self._renewed(run, held.samples, held.windows, windows)
            held.at, held.windows = at, windows
            return held.samples

    def _renewed(
        self, run: RunKey, samples: pa.Table, before: dict[int, int | None], now: dict[int, int | None]
    ) -> pa.Table | None:
        """The samples with those of changed windows replaced."""
        changed = [index for index, committed in now.items() if before.get(index, -1) != committed]
        gone = [index for index in before if index not in now]
        # New windows too: the last read may have seen them already, committed after the list of windows was read.
        kept = samples.filter(pc.invert(_among(samples, changed + gone)))
        if changed:
            new = self._ask(run, f"AND window_index BETWEEN {min(changed)} AND {max(changed)}")
            kept = pa.concat_tables([kept, new.filter(_among(new, changed))])
        return _in_order(kept) if kept.num_rows <= self._max_rows else None

    def _read(self, run: RunKey) -> pa.Table | None:
        found = self._ask(run, f"LIMIT {self._max_rows + 1}")
        return _in_order(found) if found.num_rows <= self._max_rows else None

    def _ask(self, run: RunKey, more: str) -> pa.Table:
        return self._lake.query(
            f"SELECT * EXCLUDE (run_id, datacenter) FROM power_samples WHERE run_id = ? AND datacenter = ? {more}",
            [run.run_id, run.datacenter],
        )


class ArrowQueries:
    """Queries over a table in memory, under the name ``samples``; from any number of threads, also after ``close``."""

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._guard = threading.Lock()

    def close(self) -> None:
        """Close every connection."""
        with self._guard:
            for cursor in self._idle:
                cursor.close()
            self._idle.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def query(self, samples: pa.Table, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """The rows of a query of ours."""
        cursor = self._take()
        cursor.register("samples", samples)
        try:
            return cursor.execute(sql, list(params) or None).to_arrow_table()
        finally:
            cursor.unregister("samples")
            with self._guard:
                self._idle.append(cursor)

    def _take(self) -> duckdb.DuckDBPyConnection:
        with self._guard:
            if self._idle:
                return self._idle.pop()
            if self._connection is None:
                config: dict[str, str | bool | int | float | list[str]] = {
                    "threads": "1",
                    "python_enable_replacements": "false",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                }
                self._connection = duckdb.connect(":memory:", config=config)
            cursor = self._connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor


def _among(samples: pa.Table, windows: list[int]) -> pa.ChunkedArray:
    return pc.is_in(samples["window_index"], value_set=pa.array(windows, pa.int64()))


def _in_order(table: pa.Table) -> pa.Table:
    times = table["timestamp_ms"].to_numpy()
    ordered = bool((times[1:] >= times[:-1]).all())
    return (table if ordered else table.sort_by("timestamp_ms")).combine_chunks()
