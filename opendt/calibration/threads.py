"""One thread for small linear algebra.

Matrices of a few hundred rows gain nothing from BLAS threads, and lose a hundredfold when other processes keep the
cores busy, because waiting threads spin. One thread also means one order of summation: same input, same output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import numpy  # noqa: F401
import scipy.linalg  # noqa: F401
from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")


@cache
def _controller() -> ThreadpoolController:
    """Finds the BLAS libraries in this process: numpy's and scipy's own, both loaded by the imports above."""
    return ThreadpoolController()


def single_threaded(function: Callable[..., Result]) -> Callable[..., Result]:
    """Run a function with BLAS limited to one thread."""

    @wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Result:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
