"""Keep a lake small and quick: inlined rows to files, small files to large ones, old snapshots away."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from opendt.lake.connection import NAME
from opendt.lake.lake import Lake


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What maintenance did; files and bytes count data files in force."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    snapshots_expired: int
    files_deleted: int
    wall_s: float

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def maintain(lake: Lake, *, keep_days: float | None = None) -> MaintenanceReport:
    """Compact a lake and forget snapshots older than ``keep_days`` (the setting ``lake.snapshots_keep_days``).

    Safe while others write or read. Files that no snapshot refers to are deleted once they are older than
    ``keep_days`` too, so that a reader of an old snapshot is not cut off.

    Raises ``LakeBusyError`` when other writers were in the way all the time.
    """
    days = lake.settings.snapshots_keep_days if keep_days is None else keep_days
    older = f"now() - INTERVAL {int(days * 86_400)} SECONDS"
    started = time.monotonic()
    files_before, bytes_before = _files(lake)
    lake.call(f"CALL ducklake_flush_inlined_data('{NAME}')")
    lake.call(f"CALL ducklake_rewrite_data_files('{NAME}')")
    lake.call(f"CALL ducklake_merge_adjacent_files('{NAME}')")
    expired = lake.call(f"CALL ducklake_expire_snapshots('{NAME}', older_than => {older})")
    deleted = lake.call(f"CALL ducklake_cleanup_old_files('{NAME}', older_than => {older})")
    deleted += lake.call(f"CALL ducklake_delete_orphaned_files('{NAME}', older_than => {older})")
    files_after, bytes_after = _files(lake)
    return MaintenanceReport(
        files_before, files_after, bytes_before, bytes_after, expired, deleted, time.monotonic() - started
    )


def _files(lake: Lake) -> tuple[int, int]:
    (row,) = lake.rows(
        "SELECT coalesce(sum(file_count), 0)::BIGINT AS files, coalesce(sum(file_size_bytes), 0)::BIGINT AS bytes "
        f"FROM ducklake_table_info('{NAME}')"
    )
    return row["files"], row["bytes"]
