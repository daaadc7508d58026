"""What is retried, for how long, and what is cached: one rule for every task.

Only :class:`opendt.errors.TransientError` is retried, with growing, jittered delays. Nothing is cached by Prefect: the
lake's ``windows`` table is the authority on what is done, and a cached result would not know that its rows are gone.

A step called inside a flow run is a Prefect task run. Called anywhere else it is the plain function under the same
retry rule, so that flows run by themselves without a server.
"""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext, TagsContext
from prefect.states import State

from opendt.errors import TransientError
from opendt.settings import PrefectSettings

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

RETRIES = 3
FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 60.0
JITTER = 0.5

# Timeouts say when something is broken, not when it is slow. Code on threads is not interrupted by them, which is why
# subprocesses have their own (opendc.timeout_s).
WINDOW_TIMEOUT_S = 1800.0
STEP_TIMEOUT_S = 600.0
LONG_TIMEOUT_S = 6 * 3600.0


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Prefect's ``retry_condition_fn``: whether the failed state holds a ``TransientError``."""
    error = getattr(state.data, "result", state.data)
    return isinstance(error, TransientError) and error.in_place


def delays_s(retries: int, first_s: float = FIRST_DELAY_S) -> list[float]:
    """Delays before each retry [s]: doubling, at most a minute, without jitter."""
    return [min(first_s * 2**attempt, LONGEST_DELAY_S) for attempt in range(retries)]


class Opaque:
    """Hides a value from Prefect, which would walk through every list and dataclass in search of futures.

    A window's batch and session hold tens of thousands of values: the walk cost more than the simulation.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return type(self.value).__name__


def _hidden(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | Opaque) else Opaque(value)


def _shown(value: Any) -> Any:
    return value.value if isinstance(value, Opaque) else value


def _unhiding(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> R:
        return function(*map(_shown, args), **{name: _shown(value) for name, value in kwargs.items()})

    return call


@contextmanager
def untagged() -> Iterator[None]:
    """Task runs started in the block do not take over the tags of their flow run.

    For every tag Prefect asks the server for a concurrency slot before a task may start: a request per window, and a
    run that cannot go on without the server.
    """
    with TagsContext(current_tags=set()):
        yield


class Step(Task[P, R]):
    """A task that is also itself: outside a flow run it is its function, retried by the same rule."""

    _untimed: tuple[Step[P, R], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if FlowRunContext.get() is not None:
            shown = self if threading.current_thread() is threading.main_thread() else self.untimed()
            with untagged():
                return Task.__call__(
                    shown, *map(_hidden, args), **{name: _hidden(value) for name, value in kwargs.items()}
                )
        first = self.retry_delay_seconds
        delays = list(first) if isinstance(first, list) else [float(first or 0.0)] * self.retries
        return retrying(lambda: self.fn(*args, **kwargs), delays, what=self.name)

    def untimed(self) -> Step[P, R]:
        """The same step for a thread, where Prefect cannot interrupt and warns of that at every run."""
        if not self._untimed:
            found = copy.copy(self)
            found.timeout_seconds = None
            self._untimed = (found,)
        return self._untimed[0]


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    *, name: str | None = None, run_name: str | None = None, timeout_s: float = STEP_TIMEOUT_S,
    retries: int = RETRIES,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...  # fmt: skip
def step(
    function: Callable[P, R] | None = None, /, *, name: str | None = None, run_name: str | None = None,
    timeout_s: float = STEP_TIMEOUT_S, retries: int = RETRIES,
) -> Any:  # fmt: skip
    """Make a function a task under the one policy.

    Args:
        name: what the Prefect UI calls the task; the function's name with spaces by default.
        run_name: template of the task run's name over the parameters, e.g. ``"{run_id} window {index}"``.
        timeout_s: after this many seconds the run is failed [s]; terminal, because a hang tends to repeat.
        retries: attempts after the first, for transient errors only.
    """

    def decorate(inner: Callable[P, R]) -> Callable[P, R]:
        return Step(
            _unhiding(inner), name=name or inner.__name__.replace("_", " "), task_run_name=run_name,
            timeout_seconds=timeout_s,
            retries=retries, retry_delay_seconds=delays_s(retries), retry_jitter_factor=JITTER,
            retry_condition_fn=is_transient, cache_policy=NO_CACHE, persist_result=False,
        )  # fmt: skip

    return decorate if function is None else decorate(function)


def tuned(task: Callable[P, R], settings: PrefectSettings) -> Callable[P, R]:
    """The same step with the retries and first delay of the settings."""
    assert isinstance(task, Step), "only steps can be tuned"
    changed = task.with_options(
        retries=settings.retries, retry_delay_seconds=delays_s(settings.retries, settings.retry_delay_s)
    )
    changed.__class__ = Step
    return changed


def retrying(
    call: Callable[[], R], delays: Sequence[float], *, what: str = "call",
    sleep: Callable[[float], None] = time.sleep, random_: Callable[[], float] = random.random,
) -> R:  # fmt: skip
    """Call until it no longer raises ``TransientError`` or the delays are used up; then the error is raised."""
    for delay in delays:
        try:
            return call()
        except TransientError as error:
            if not error.in_place:
                raise
            wait = delay * (1 + JITTER * (2 * random_() - 1))
            log.warning("%s will be tried again in %.1f s: %s", what, wait, error.message)
            sleep(wait)
    return call()
