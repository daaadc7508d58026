"""The decorator of every compiled function: cached on disk, and never stale.

Numba's cache checks only the file of the function itself; a caller would keep an old version of what it calls in
another file. Here all kernels share one stamp, made from every kernel file, so that a change in any recompiles all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

# Kernels get every array they need, so reference counts would only cost time, most of all when compiling.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}

F = TypeVar("F", bound=Callable[..., Any])


@cache
def source_stamp() -> str:
    """A fingerprint of all kernel sources."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"@kernel" in text or b"@inlined" in text or path.name in ("world.py", "compiled.py"):
            digest.update(text)
    return digest.hexdigest()


def kernel(function: F) -> F:
    """Compile on first use, keep the machine code on disk where some folder can be written."""
    try:
        compiled: Any = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder for the cache
        return njit(**_OPTIONS)(function)
    files: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(files, "_version"):
        files._version = f"{files._version} {source_stamp()}"  # compared before anything else in the file is read
    return compiled


def inlined(function: F) -> F:
    """For small functions on the path of every fragment: a part of each caller instead of a call.

    A call hands over every field of every array it gets, which costs more than such a function does.
    """
    return njit(inline="always", **_OPTIONS)(function)


def is_ready(compiled: Any) -> bool:
    """Whether a kernel can be called without compiling it first."""
    if getattr(compiled, "signatures", None):
        return True
    files: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    try:
        return bool(files._load_index())
    except (AttributeError, OSError):
        return False
