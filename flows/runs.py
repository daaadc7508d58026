"""A flow's own row in the lake's ``runs`` table, for flows that are no windowed run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opendt.code_version import code_version
from opendt.errors import OpenDTError
from opendt.lake import Lake
from opendt.settings import Settings
from opendt.twin.session import wall_clock_ms
from opendt.units import MS_PER_HOUR


@contextmanager
def lake_run(settings: Settings, run_id: str, kind: str) -> Iterator[None]:
    """Enter a run; it ends completed, or failed with the reason if the block raises."""
    datacenter = settings.datacenter
    with Lake.open(settings.lake) as lake:
        lake.start_run(run_id, datacenter, kind, code_version=code_version())
    try:
        yield
    except BaseException as error:
        reason = error.message if isinstance(error, OpenDTError) else f"{type(error).__name__}: {error}"
        with Lake.open(settings.lake) as lake:
            lake.update_run(run_id, datacenter, state="failed", reason=reason, ended_ms=wall_clock_ms())
        raise
    with Lake.open(settings.lake) as lake:
        lake.update_run(run_id, datacenter, state="completed", reason=None, ended_ms=wall_clock_ms())


def last_completed(settings: Settings, kind: str, within_h: float) -> str | None:
    """Id of the latest run of a kind that completed within so many hours of now; None when there is none."""
    since_ms = wall_clock_ms() - round(within_h * MS_PER_HOUR)
    with Lake.open(settings.lake) as lake:
        rows = lake.rows(
            "SELECT run_id FROM runs WHERE datacenter = ? AND kind = ? AND state = 'completed' AND ended_ms >= ? "
            "ORDER BY ended_ms DESC LIMIT 1",
            [settings.datacenter, kind, since_ms],
        )
    return str(rows[0]["run_id"]) if rows else None
