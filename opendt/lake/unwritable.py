"""Lakes in folders that cannot be written: how to read them all the same.

SQLite reads a catalogue that has a write-ahead log only with two more files beside it. They are there while somebody
writes; a lake that nobody has open lacks them, and where the folder is read-only SQLite cannot make them. Such a
catalogue is complete in its one file, so a copy of it elsewhere reads the same; the Parquet files stay where they are.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

from opendt.errors import LakeError

_guard = threading.Lock()
_copies: dict[tuple[str, int, int, int], tempfile.TemporaryDirectory[str]] = {}  # removed when the process ends


def complete_but_unwritable(file: Path) -> bool:
    """Whether a SQLite file stands in a folder that cannot be written, with nothing in a log beside it."""
    log = Path(f"{file}-wal")
    return not os.access(file.parent, os.W_OK) and not (log.exists() and log.stat().st_size)


def readable_copy(catalog: Path) -> Path:
    """A copy of a catalogue in the system's folder for temporary files; of the same state, only one is made.

    Raises ``LakeError`` when it cannot be made. Facts: ``path``.
    """
    try:
        found = catalog.stat()
        state = (str(catalog.absolute()), found.st_ino, found.st_mtime_ns, found.st_size)
        with _guard:
            if state not in _copies:
                folder = tempfile.TemporaryDirectory(prefix="opendt-catalogue-")
                shutil.copyfile(catalog, Path(folder.name) / catalog.name)
                _copies[state] = folder
            return Path(_copies[state].name) / catalog.name
    except OSError as error:
        raise LakeError(
            f"{catalog.parent}: the lake's folder is read-only, and its catalogue cannot be copied to be read "
            f"({error}). Copy the lake to a folder that can be written, or set TMPDIR to one.",
            path=str(catalog.parent),
        ) from None
