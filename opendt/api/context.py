"""What every route needs: settings, the lake, the store, limits. Made once per app, opened when first used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request

from opendt.api.errors import NotFoundError
from opendt.api.launcher import Launcher
from opendt.api.respond import BodyCache
from opendt.api.security import Guard, RateLimit
from opendt.api.series import SeriesReader
from opendt.lake import Lake
from opendt.lake.connection import catalog_file
from opendt.lake.queries import LATEST_FIRST, LATEST_TABLES
from opendt.lake.reader import Commit, LakeReader, RunKey
from opendt.lake.sql_process import SqlPool
from opendt.settings import Settings
from opendt.store import Store
from opendt.units import datetime_to_ms

if TYPE_CHECKING:
    from opendt.optimize.decisions import Desk

LATEST = "latest"


class Context:
    """The state of an app."""

    def __init__(self, settings: Settings, token: str, config: Path | None = None) -> None:
        self.settings = settings
        self.config = config
        self.guard = Guard(settings, token)
        self.lake = LakeReader(settings.lake)
        self.series = SeriesReader(self.lake)
        self.bodies = BodyCache()
        self.sql = SqlPool(settings.lake, settings.api.sql_workers)
        self.sql_rate = RateLimit(settings.api.sql_per_minute)
        self.whatif_rate = RateLimit(settings.api.whatif_per_minute)
        self.launcher = Launcher(settings, config)
        self.started = time.time()
        self.streams = 0
        self._changing = threading.Lock()
        self._open: tuple[Lake, Store, int] | None = None

    def close(self) -> None:
        """End processes and close connections."""
        self.launcher.close()
        self.sql.close()
        self.series.close()
        self.lake.close()
        with self._changing:
            self._close_writers()

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The operational store, for reading; a missing one reads as empty."""
        with Store.open(self.settings, read_only=True) as opened:
            yield opened

    @contextmanager
    def desk(self, datacenter: str | None = None) -> Iterator[Desk]:
        """Everything a change touches; one change at a time."""
        from opendt.optimize.decisions import Desk

        settings = self.settings
        if datacenter and datacenter != settings.datacenter:
            settings = settings.model_copy(update={"datacenter": datacenter})
        with self._changing:
            lake, store = self._writers()
            yield Desk.of(settings, store, lake)

    def _writers(self) -> tuple[Lake, Store]:
        """Lake and store open for writing; opened again when the lake's folder was replaced."""
        file = catalog_file(self.settings.lake)
        identity = file.stat().st_ino if file and file.exists() else -1
        if self._open is not None and self._open[2] == identity:
            return self._open[:2]
        self._close_writers()
        lake = Lake.open(self.settings.lake)
        try:
            store = Store.open(self.settings)
        except BaseException:
            lake.close()
            raise
        self._open = (lake, store, file.stat().st_ino if file else -1)
        return lake, store

    def _close_writers(self) -> None:
        if self._open is not None:
            lake, store, _ = self._open
            self._open = None
            lake.close()
            store.close()

    def run_key(self, run_id: str, datacenter: str | None = None, at: Commit | None = None) -> RunKey:
        """A run that exists; ``latest`` names the one started last, of those with a committed window if there are any.

        Raises ``NotFoundError`` when there is none.
        """
        latest = run_id == LATEST
        where = "" if latest else "AND run_id = ?"
        where += " AND datacenter = ?" if datacenter else ""
        given = (() if latest else (run_id,)) + ((datacenter,) if datacenter else ())
        order = LATEST_FIRST if latest else "started_ms DESC, run_id DESC"
        found = self.lake.recent(
            f"SELECT run_id, datacenter FROM runs WHERE true {where} ORDER BY datacenter = ? DESC, {order} LIMIT 1",
            (*given, self.settings.datacenter),
            tables=LATEST_TABLES if latest else ("runs",),
            at=at,
        )
        if not found:
            place = f" in datacenter {datacenter}" if datacenter else ""
            what = f"run {run_id}" if run_id != LATEST else "run at all"
            raise NotFoundError(f"the lake has no {what}{place}. See /api/runs.", run_id=run_id)
        return RunKey(found[0]["run_id"], found[0]["datacenter"])

    def trace_of(self, run: RunKey, at: Commit | None = None) -> str | None:
        """Name of the trace a run replays."""
        found = self.lake.recent(
            "SELECT trace FROM runs WHERE run_id = ? AND datacenter = ?",
            (run.run_id, run.datacenter),
            tables=("runs",),
            at=at,
        )
        return found[0]["trace"] if found else None


# These are coroutines although they wait for nothing: FastAPI sends plain functions to a thread and back.


async def context(request: Request) -> Context:
    """The app's state, as a dependency."""
    return request.app.state.context


async def may_read(request: Request) -> None:
    """Dependency of every route that reads."""
    request.app.state.context.guard.reading(request)


async def may_change(request: Request) -> None:
    """Dependency of every route that changes something."""
    request.app.state.context.guard.changing(request)


def epoch_ms(moment: datetime | None) -> int | None:
    """Epoch time [ms]; a time without zone is UTC."""
    return None if moment is None else datetime_to_ms(moment)


def page(rows: list[dict[str, Any]], total: int, limit: int, offset: int) -> dict[str, Any]:
    """The envelope of every list."""
    return {"items": rows, "total": total, "limit": limit, "offset": offset}
