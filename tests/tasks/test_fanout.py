from __future__ import annotations

import os
import threading

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from opendt.errors import EngineError
from opendt.settings import PrefectSettings
from tasks import fanout
from tasks.fanout import fan_out, task_runner
from tasks.policy import step

# From the standard library, because other processes cannot import this file.
base = step(os.path.basename)
whose = step(os.getpid)
PATHS = [(f"folder/{n}",) for n in range(5)]


@step
def meet(barrier: threading.Barrier, value: int) -> int:
    """Returns only when as many calls as the barrier counts run at the same time."""
    barrier.wait(20)
    return value


@step
def fail(value: int) -> int:
    raise EngineError(f"trial {value} failed")


def settings(kind: str) -> PrefectSettings:
    return PrefectSettings(fan_out=kind, fan_out_workers=2)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_results_keep_the_order_of_the_batches(kind):
    assert fan_out(base, PATHS, settings(kind)) == ["0", "1", "2", "3", "4"]


def test_processes_are_other_processes():
    assert os.getpid() not in fan_out(whose, [(), ()], settings("processes"))
    assert set(fan_out(whose, [(), ()], settings("threads"))) == {os.getpid()}


def test_batches_run_side_by_side():
    barrier = threading.Barrier(2)
    assert fan_out(meet, [(barrier, 1), (barrier, 2)], settings("threads")) == [1, 2]


def test_the_first_error_is_raised():
    with pytest.raises(EngineError, match="trial 1 failed"):
        fan_out(fail, [(1,)], settings("threads"))


def test_the_settings_choose_the_task_runner():
    assert isinstance(task_runner(settings("threads")), ThreadPoolTaskRunner)
    assert isinstance(task_runner(settings("processes")), ProcessPoolTaskRunner)


def test_dask_runs_batches_on_a_cluster_of_its_own():
    pytest.importorskip("prefect_dask", reason="the extra 'dask' is not installed")
    assert fan_out(base, PATHS, settings("dask")) == ["0", "1", "2", "3", "4"]


def test_without_dask_the_error_says_how_to_get_it(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith(("prefect_dask", "dask")):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(fanout.MissingDependencyError, match=r"opendt\[dask\]"):
        task_runner(settings("dask"))
