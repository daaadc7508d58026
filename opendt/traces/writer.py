"""Writing trace folders: OpenDC's columns and types, and a folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from opendt.errors import TraceError
from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.traces.reader import CARBON, FRAGMENTS, POWER, TASKS, TOPOLOGY

_INT32_MAX = 2**31 - 1


@contextmanager
def new_folder(dest: Path, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``dest`` that becomes ``dest`` when the block ends without an error.

    Raises ``TraceError`` when ``dest`` is a file, or a folder with anything in it and ``force`` is not given; with it
    the old folder is replaced.
    """
    if dest.exists() and not dest.is_dir():
        raise TraceError(f"{dest}: is a file. Give a folder.", file=str(dest))
    if dest.is_dir() and any(dest.iterdir()) and not force:
        raise TraceError(f"{dest}: is not empty. Give a new folder, or replace this one with --force.", file=str(dest))
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    except OSError as error:
        raise TraceError(
            f"{dest}: cannot be written ({error.strerror}). Give another folder.", file=str(dest)
        ) from None
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        _replace(temporary, dest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_workload(folder: Path, workload: Workload) -> None:
    """Write ``tasks.parquet`` and ``fragments.parquet`` with OpenDC's types.

    Ids are int32 where every task's name is its number and fits, so that OpenDC reads the files; else text.
    Optional columns are written where any task uses them.
    """
    tasks, fragments = workload.tasks, workload.fragments
    numbered = bool(
        np.all(np.abs(tasks.task_id) <= _INT32_MAX) and np.array_equal(tasks.task_id.astype(np.str_), tasks.name)
    )
    names = pa.array(tasks.name.tolist(), pa.string())
    columns: dict[str, tuple[pa.DataType, object, bool]] = {
        "id": (pa.int32(), tasks.task_id, False) if numbered else (pa.string(), names, False),
        "submission_time": (pa.timestamp("ms"), tasks.submission_ms, False),
        "duration": (pa.int64(), tasks.duration_ms, False),
        "cpu_count": (pa.int32(), tasks.cpu_count, False),
        "cpu_capacity": (pa.float64(), tasks.cpu_capacity_mhz, False),
        "mem_capacity": (pa.int64(), tasks.mem_capacity, False),
    }
    if tasks.gpu_count.any() or fragments.gpu_usage_mhz.any():
        columns["gpu_count"] = (pa.int32(), tasks.gpu_count, True)
        columns["gpu_capacity"] = (pa.float64(), tasks.gpu_capacity_mhz, True)
    if tasks.parents:
        columns["parents"] = _parents(workload, numbered)
    if tasks.deferrable.any():
        columns["nature"] = (pa.string(), np.where(tasks.deferrable, "deferrable", ""), True)
    if (tasks.deadline_ms != -1).any():
        columns["deadline"] = (pa.int64(), tasks.deadline_ms, True)
    _write(folder / TASKS, columns)
    fragment_ids: tuple[pa.DataType, object, bool] = (pa.int32(), fragments.task_id, False)
    if not numbered:
        order = np.argsort(tasks.task_id, kind="stable")
        rows = order[np.searchsorted(tasks.task_id[order], fragments.task_id)]
        fragment_ids = (pa.string(), names.take(pa.array(rows)), False)
    columns = {
        "id": fragment_ids,
        "duration": (pa.int64(), fragments.duration_ms, False),
        "cpu_usage": (pa.float64(), fragments.cpu_usage_mhz, False),
    }
    if fragments.gpu_usage_mhz.any():
        columns["gpu_usage"] = (pa.float64(), fragments.gpu_usage_mhz, True)
    _write(folder / FRAGMENTS, columns)


def write_power(folder: Path, power: PowerSeries, interval_ms: int, origin_ms: int) -> None:
    """Write ``consumption.parquet``: power [W], energy of the interval before [J], ms since the earliest submission."""
    _write(folder / POWER, {
        "power_draw": (pa.float64(), power.power_w, False),
        "energy_usage": (pa.float64(), power.power_w * interval_ms / 1000, False),
        "timestamp": (pa.int64(), power.timestamp_ms - origin_ms, False),
    })  # fmt: skip


def write_carbon(folder: Path, carbon: CarbonTrace) -> None:
    """Write ``carbon.parquet`` [g/kWh]."""
    _write(folder / CARBON, {
        "timestamp": (pa.timestamp("ms"), carbon.timestamp_ms, False),
        "carbon_intensity": (pa.float64(), carbon.intensity_g_per_kwh, False),
    })  # fmt: skip


def write_topology(folder: Path, topology: Topology) -> None:
    """Write ``topology.json``."""
    (folder / TOPOLOGY).write_bytes(topology.to_json() + b"\n")


def _parents(workload: Workload, numbered: bool) -> tuple[pa.DataType, object, bool]:
    tasks = workload.tasks
    name_of = dict(zip(tasks.task_id.tolist(), tasks.name.tolist(), strict=True))
    lists = [list(tasks.parents.get(number, ())) for number in tasks.task_id.tolist()]
    if numbered:
        return pa.list_(pa.int32()), lists, True
    return pa.list_(pa.string()), [[name_of[parent] for parent in listed] for listed in lists], True


def _write(path: Path, columns: dict[str, tuple[pa.DataType, object, bool]]) -> None:
    schema = pa.schema([pa.field(name, kind, nullable) for name, (kind, _, nullable) in columns.items()])
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, _storage(kind)).cast(kind)
        for kind, values, _ in columns.values()
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


def _storage(kind: pa.DataType) -> pa.DataType | None:
    return pa.int64() if pa.types.is_timestamp(kind) or pa.types.is_integer(kind) else kind


def _replace(temporary: Path, dest: Path) -> None:
    if not dest.exists():
        temporary.rename(dest)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{dest.name}.old.", dir=dest.parent))
    dest.rename(old / dest.name)
    temporary.rename(dest)
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
