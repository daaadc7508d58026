"""What a lake holds and how large it is."""

from __future__ import annotations

from typing import Any

from opendt.lake.connection import NAME, catalog_file, data_path
from opendt.lake.lake import Lake
from opendt.lake.plain import plain, plain_rows
from opendt.lake.reader import LakeReader


def lake_info(lake: Lake | LakeReader) -> dict[str, Any]:
    """Place, snapshots and size of a lake as JSON values; rows, data files and their bytes per table."""
    (snapshots,) = lake.rows(
        "SELECT max(snapshot_id) AS newest, count(*) AS n, min(snapshot_time) AS oldest, max(snapshot_time) AS latest "
        f"FROM ducklake_snapshots('{NAME}')"
    )
    tables = plain_rows(
        lake.query(
            "SELECT table_name AS table, NULL AS rows, file_count AS files, file_size_bytes AS bytes "
            f"FROM ducklake_table_info('{NAME}') ORDER BY 1"
        )
    )
    for table in tables:
        table["rows"] = lake.rows(f'SELECT count(*) AS n FROM "{table["table"]}"')[0]["n"]
    file = catalog_file(lake.settings)
    return {
        "catalog": str(file) if file else lake.settings.model_dump(mode="json")["catalog"],
        "catalog_bytes": file.stat().st_size if file else None,
        "data_path": data_path(lake.settings),
        "snapshot": snapshots["newest"],
        "snapshots": snapshots["n"],
        "oldest_snapshot": plain(snapshots["oldest"]),
        "newest_snapshot": plain(snapshots["latest"]),
        "runs": lake.rows("SELECT count(*) AS n FROM runs")[0]["n"],
        "tables": tables,
    }


def list_snapshots(lake: Lake | LakeReader, limit: int) -> list[dict[str, Any]]:
    """The last snapshots, newest first: number, time, and what changed."""
    return plain_rows(
        lake.query(
            "SELECT snapshot_id AS snapshot, snapshot_time AS time, changes::JSON::VARCHAR AS changes "
            f"FROM ducklake_snapshots('{NAME}') ORDER BY snapshot_id DESC LIMIT ?",
            [limit],
        )
    )
