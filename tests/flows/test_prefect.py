"""Against a real server: the set of versions works, schedules create runs, errors are retried by type."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from contextvars import copy_context

import pytest
from prefect import flow, tags
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.schedules import CronSchedule
from prefect.runtime import flow_run

from flows.runtime import begun_ms
from opendt.errors import EngineError, LakeBusyError
from opendt.settings import PrefectSettings
from tasks.fanout import fan_out
from tasks.policy import step

ATTEMPTS: Counter[str] = Counter()


def _until(condition, timeout_s: float = 60.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing after {timeout_s} s")


def _task_runs(client, flow_run_id, count):
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[uuid.UUID(flow_run_id)]))

    def finished():
        runs = client.read_task_runs(flow_run_filter=wanted)
        return runs if len(runs) == count and all(r.state and r.state.is_final() for r in runs) else None

    return _until(finished)


@step(run_name="{run_id} window {index}", retries=2)
def unlucky(run_id: str, index: int) -> int:
    ATTEMPTS[run_id] += 1
    if ATTEMPTS[run_id] < 3:
        raise LakeBusyError("the catalogue is locked")
    return index


@step(run_name="{run_id} window {index}", retries=2)
def hopeless(run_id: str, index: int) -> int:
    ATTEMPTS[run_id] += 1
    raise EngineError("task 7 asks for more memory than any host has")


@flow
def story(run_id: str, which: str) -> tuple[str, int]:
    call = (unlucky if which == "unlucky" else hopeless).with_options(retry_delay_seconds=[0.01, 0.01])
    return flow_run.id, call(run_id, 4)


@step
def easy() -> None:
    pass


@flow
def easy_story() -> str:
    easy()
    return flow_run.id


def test_a_cron_schedule_creates_runs_in_its_time_zone(client):
    deployment = story.to_deployment(
        name="cron", parameters={"run_id": "a", "which": "unlucky"},
        schedule=CronSchedule(cron="30 2 * * *", timezone="Europe/Amsterdam"),
    )  # fmt: skip
    deployment_id = deployment.apply()
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    runs = _until(lambda: client.read_flow_runs(deployment_filter=wanted))
    assert all(run.state.is_scheduled() and run.auto_scheduled for run in runs)
    from zoneinfo import ZoneInfo

    local = {run.expected_start_time.astimezone(ZoneInfo("Europe/Amsterdam")).strftime("%H:%M") for run in runs}
    assert local == {"02:30"}


def test_a_transient_error_is_retried_until_it_succeeds(prefect_api, client):
    run_id, value = story("flaky-run", "unlucky")
    assert value == 4
    assert ATTEMPTS["flaky-run"] == 3
    (task_run,) = _task_runs(client, run_id, 1)
    assert task_run.name == "flaky-run window 4"
    assert task_run.state.is_completed()


def test_steps_ask_for_no_concurrency_slots_whatever_tags_their_run_has(prefect_api, client):
    with tags("opendt"):
        run_id = easy_story()
    (task_run,) = _task_runs(client, run_id, 1)
    assert client.read_flow_run(uuid.UUID(run_id)).tags == ["opendt"]
    assert task_run.tags == []  # each would be a request to the server before a window may start


@flow
def threaded_story() -> str:
    """Steps on a thread of ours and on Prefect's."""
    thread = threading.Thread(target=copy_context().run, args=(unlucky, "steady-run", 4))
    thread.start()
    thread.join()
    fan_out(unlucky, [("steady-run", 5)], PrefectSettings(fan_out="threads", fan_out_workers=1))
    return flow_run.id


def test_steps_on_threads_do_not_warn_of_timeouts_that_cannot_interrupt_them(prefect_api, client, caplog):
    ATTEMPTS["steady-run"] = 3
    with caplog.at_level("WARNING", logger="prefect"):
        run_id = threaded_story()
    assert {run.name for run in _task_runs(client, run_id, 2)} == {"steady-run window 4", "steady-run window 5"}
    assert [record.getMessage() for record in caplog.records if "Timeout" in record.getMessage()] == []
    assert unlucky.timeout_seconds is not None


BEGUN: list[int] = []


@flow(retries=1)
def second_attempt() -> None:
    BEGUN.append(begun_ms())
    if len(BEGUN) == 1:
        time.sleep(1.0)
        raise LakeBusyError("the first attempt fails")


def test_a_retried_run_has_begun_when_its_first_attempt_did(prefect_api):
    BEGUN.clear()
    before_ms = time.time_ns() // 1_000_000
    second_attempt()
    after_ms = time.time_ns() // 1_000_000
    assert len(BEGUN) == 2
    assert BEGUN[0] == BEGUN[1], "else a new attempt would not read what the first one's replay has sent"
    assert before_ms - 1_000 <= BEGUN[0] < after_ms - 900
    assert before_ms <= begun_ms() <= time.time_ns() // 1_000_000 >= after_ms, "outside a flow run it is now"


def test_a_terminal_error_is_not_retried_and_its_sentence_is_the_state(prefect_api, client):
    state = story("doomed-run", "hopeless", return_state=True)
    assert ATTEMPTS["doomed-run"] == 1
    assert state.is_failed()
    assert "task 7 asks for more memory than any host has" in state.message
    with pytest.raises(EngineError):
        state.result()
