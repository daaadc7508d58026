"""What is kept of OpenDC runs: an archive folder per run, and results by content so that nothing is run twice."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from opendt.errors import EngineBusyError, EngineError
from opendt.models.telemetry import CarbonTrace
from opendt.models.workload import Workload

_NUMBER = itertools.count()
_RESULTS = ".results"
METADATA = "metadata.json"


def content_hash(parts: Iterable[bytes | np.ndarray]) -> str:
    """Hash over byte strings and arrays, each with its length, type and shape."""
    total = hashlib.blake2b(digest_size=20)
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).view(np.uint8).data if part.size else b"")
        else:
            total.update(f"bytes{len(part)}".encode())
            total.update(part)
    return total.hexdigest()


def workload_parts(workload: Workload) -> list[bytes | np.ndarray]:
    """Everything in a workload that can change a result."""
    parts: list[bytes | np.ndarray] = []
    for columns in (workload.tasks, workload.fragments):
        for name in columns.__slots__:
            value = getattr(columns, name)
            parts += [name.encode(), orjson.dumps(sorted(value.items())) if name == "parents" else value]
    return parts


def carbon_parts(carbon: CarbonTrace | None) -> list[bytes | np.ndarray]:
    """Everything in a carbon trace."""
    return [b"no carbon"] if carbon is None else [carbon.timestamp_ms, carbon.intensity_g_per_kwh]


def new_run_folder(archive: Path) -> Path:
    """A fresh folder for one run: time, process and a number; raises ``EngineBusyError`` for a full disk."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    folder = archive / f"{stamp}-{os.getpid()}-{next(_NUMBER):04d}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise write_error(folder, error) from None
    return folder


def write_error(path: Path, error: OSError) -> EngineError | EngineBusyError:
    """A failed write as an error: a full disk may get room again, anything else will not mend itself."""
    if error.errno in (28, 122):  # no space left, quota exceeded
        return EngineBusyError(
            f"{path}: the disk is full ({error.strerror}). Free space and try again.", reason="disk full"
        )
    return EngineError(
        f"{path}: cannot be written ({error.strerror}). Set opendc.archive to a writable folder.", engine="opendc",
        reason="archive not writable",
    )  # fmt: skip


def write_metadata(folder: Path, facts: Mapping[str, Any]) -> None:
    """``metadata.json``: what was run, with what, and how it ended."""
    text = orjson.dumps(dict(facts), default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    (folder / METADATA).write_bytes(text)


def prune_runs(archive: Path, keep: int) -> None:
    """Remove the oldest run folders so that with a new one there are ``keep``; 0 keeps all.

    Folders of runs under way have no metadata yet and stay.
    """
    if keep == 0 or not archive.is_dir():
        return
    ended = sorted(p for p in archive.iterdir() if (p / METADATA).is_file())
    for folder in ended[: max(0, len(ended) - keep + 1)]:
        shutil.rmtree(folder, ignore_errors=True)


class ResultCache:
    """OpenDC's result files by the hash of everything they depend on. Safe for several processes.

    An entry is written beside its place and renamed, so it is complete or absent.
    """

    def __init__(self, archive: Path, limit_mb: int) -> None:
        self.folder = archive / _RESULTS
        self.limit_bytes = limit_mb * 1_000_000

    def get(self, key: str) -> Path | None:
        """Folder of the stored files, or None."""
        folder = self.folder / key
        if self.limit_bytes == 0 or not folder.is_dir():
            return None
        with suppress(OSError):
            os.utime(folder)
        return folder

    def put(self, key: str, folders: Sequence[Path]) -> None:
        """Store copies of the folders as ``0``, ``1`` ...; the least recently used entries make room."""
        if self.limit_bytes == 0 or (self.folder / key).exists():
            return
        temporary = self.folder / f".{key}.{os.getpid()}.{next(_NUMBER)}"
        try:
            for number, folder in enumerate(folders):
                shutil.copytree(folder, temporary / str(number))
            os.rename(temporary, self.folder / key)
        except OSError as error:
            if not (self.folder / key).is_dir():  # else another process stored the same results first
                raise write_error(self.folder, error) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._make_room()

    def drop(self, key: str) -> None:
        """Forget an entry, for example one whose files cannot be read."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def _make_room(self) -> None:
        entries = []
        for folder in self.folder.glob("[!.]*"):
            with suppress(OSError):
                entries.append((folder.stat().st_mtime_ns, _size(folder), folder))
        total = sum(size for _, size, _ in entries)
        for _, size, folder in sorted(entries, key=lambda entry: entry[0]):
            if total <= self.limit_bytes:
                return
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
