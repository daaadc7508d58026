"""The same call for many batches, on threads, in processes or on a Dask cluster; results keep their order.

Inside a flow run each batch is a task run of Prefect's task runner; outside the same pools are used without Prefect.
Threads suit work that releases the interpreter (NumPy, Numba, subprocesses), processes anything else above two
seconds a batch, Dask more than one machine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from inspect import signature
from multiprocessing import get_context
from typing import Any, TypeVar

from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from opendt.errors import MissingDependencyError
from opendt.settings import PrefectSettings
from tasks.policy import Opaque, Step, untagged

R = TypeVar("R")


def fan_out(call: Callable[..., R], batches: Sequence[Sequence[Any]], settings: PrefectSettings) -> list[R]:
    """``call(*batch)`` for every batch; the first error is raised.

    Args:
        call: a step. In processes and on Dask it and its arguments must be picklable.
        batches: arguments of each call.
        settings: ``fan_out`` says where, ``fan_out_workers`` how many at the same time.

    Raises:
        MissingDependencyError: Dask is asked for and not installed.
    """
    assert isinstance(call, Step), "only steps can be fanned out"
    if FlowRunContext.get() is None:
        return _plainly(call, batches, settings)
    if settings.fan_out == "threads":
        call = call.untimed()
    names = list(signature(call.fn).parameters)
    with untagged(), task_runner(settings) as runner:
        futures = [
            runner.submit(call, {name: _hidden(value) for name, value in zip(names, batch, strict=False)})
            for batch in batches
        ]
        return [future.result() for future in futures]


def task_runner(settings: PrefectSettings) -> TaskRunner[Any]:
    """Prefect's task runner of the settings."""
    workers = settings.fan_out_workers
    if settings.fan_out == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    if settings.fan_out == "processes":
        return ProcessPoolTaskRunner(max_workers=workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise _no_dask() from None
    if settings.dask_address:
        return DaskTaskRunner(address=settings.dask_address)
    return DaskTaskRunner(cluster_kwargs=_local_cluster(workers))


def _local_cluster(workers: int) -> dict[str, Any]:
    return {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}


def _plainly(call: Step[..., R], batches: Sequence[Sequence[Any]], settings: PrefectSettings) -> list[R]:
    where = (call.fn.__module__, call.fn.__name__)
    if settings.fan_out == "dask":
        try:
            from dask.distributed import Client
        except ImportError:
            raise _no_dask() from None
        cluster = (
            {"address": settings.dask_address} if settings.dask_address else _local_cluster(settings.fan_out_workers)
        )
        with Client(**cluster) as client:
            return client.gather([client.submit(_call, *where, *batch, pure=False) for batch in batches])
    with _pool(settings) as pool:
        return [future.result() for future in [pool.submit(_call, *where, *batch) for batch in batches]]


def _call(module: str, name: str, *batch: Any) -> Any:
    """Call a step by its name: a task object cannot be sent to another process, its name can."""
    return getattr(importlib.import_module(module), name)(*batch)


def _pool(settings: PrefectSettings) -> Executor:
    workers = settings.fan_out_workers
    if settings.fan_out == "processes":
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    return ThreadPoolExecutor(workers)


def _no_dask() -> MissingDependencyError:
    return MissingDependencyError(
        "prefect.fan_out is dask, but Dask is not installed. Use threads, or install it: pip install 'opendt[dask]'."
    )


def _hidden(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else Opaque(value)
