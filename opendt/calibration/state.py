"""Arrays in JSON state: little-endian bytes as base64 text, so that a resumed calibrator has the very same numbers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """A JSON value that holds an array exactly; inverse of ``unpack``."""
    data = np.ascontiguousarray(array)
    raw = data.astype(data.dtype.newbyteorder("<")).tobytes()
    return {"dtype": data.dtype.str.lstrip("<>=|"), "shape": list(data.shape), "data": base64.b64encode(raw).decode()}


def unpack(value: dict[str, Any]) -> NDArray[Any]:
    """The array packed in a JSON value."""
    raw = np.frombuffer(base64.b64decode(value["data"]), dtype="<" + value["dtype"])
    return raw.reshape(value["shape"]).astype(value["dtype"])


def pack_symmetric(matrices: NDArray[np.float32]) -> dict[str, Any]:
    """Symmetric matrices of shape (..., n, n) by their upper triangles; half the size of ``pack``."""
    n = matrices.shape[-1]
    rows, columns = np.triu_indices(n)
    return pack(matrices[..., rows, columns]) | {"n": n}


def unpack_symmetric(value: dict[str, Any]) -> NDArray[np.float32]:
    """Inverse of ``pack_symmetric``."""
    triangles = unpack(value)
    n = value["n"]
    rows, columns = np.triu_indices(n)
    matrices = np.zeros((*triangles.shape[:-1], n, n), triangles.dtype)
    matrices[..., rows, columns] = triangles
    matrices[..., columns, rows] = triangles
    return matrices
