from __future__ import annotations

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from opendt.errors import EngineError, InputError, LakeBusyError, OpenDTError, TransientError
from opendt.settings import PrefectSettings
from tasks import policy


class Flaky:
    """Fails with the errors given, then returns 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7


def _retried(error: BaseException) -> bool:
    task_run = TaskRun.model_construct()
    return policy.is_transient(policy.Step(lambda: None, name="t"), task_run, Failed(data=error))


@pytest.mark.parametrize("error", [TransientError("x"), LakeBusyError("x")])
def test_transient_errors_are_retried(error):
    assert _retried(error)


@pytest.mark.parametrize("error", [OpenDTError("x"), EngineError("x"), InputError("x"), ValueError("x"), OSError("x")])
def test_every_other_error_is_terminal(error):
    assert not _retried(error)


def test_delays_double_up_to_a_minute():
    assert policy.delays_s(7, 2.0) == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_without_a_flow_run_a_transient_error_is_retried_with_growing_jittered_delays():
    flaky, slept = Flaky(LakeBusyError("busy"), LakeBusyError("busy")), []
    result = policy.retrying(flaky, policy.delays_s(3, 2.0), sleep=slept.append, random_=lambda: 0.75)
    assert (result, flaky.calls, slept) == (7, 3, [2.5, 5.0])


def test_the_last_transient_error_is_raised_when_retries_are_used_up():
    flaky = Flaky(*[LakeBusyError(f"busy {n}") for n in range(5)])
    with pytest.raises(LakeBusyError, match="busy 3"):
        policy.retrying(flaky, [0.0, 0.0, 0.0], sleep=lambda s: None)
    assert flaky.calls == 4


def test_a_terminal_error_is_raised_at_once():
    flaky, slept = Flaky(EngineError("broken")), []
    with pytest.raises(EngineError):
        policy.retrying(flaky, [1.0], sleep=slept.append)
    assert (flaky.calls, slept) == (1, [])


def test_a_step_outside_a_flow_run_is_its_function_with_the_same_rule(monkeypatch):
    monkeypatch.setattr(policy.time, "sleep", lambda s: None)
    flaky = Flaky(LakeBusyError("busy"))

    @policy.step(retries=1)
    def double(value: int) -> int:
        """Doubles."""
        return value * 2 + flaky() * 0

    monkeypatch.setattr(policy, "retrying", lambda call, delays, what: policy_retrying(call, [0.0 for _ in delays]))
    assert double(4) == 8
    assert flaky.calls == 2


policy_retrying = policy.retrying


def test_steps_take_retries_and_first_delay_from_the_settings():
    @policy.step(run_name="{value}", timeout_s=5)
    def double(value: int) -> int:
        return value * 2

    tuned = policy.tuned(double, PrefectSettings(retries=5, retry_delay_s=1))
    assert isinstance(tuned, policy.Step)
    assert (tuned.retries, tuned.retry_delay_seconds) == (5, [1, 2, 4, 8, 16])
    assert (tuned.task_run_name, tuned.timeout_seconds) == ("{value}", 5.0)
    assert tuned.retry_condition_fn is policy.is_transient
    assert tuned(3) == 6
