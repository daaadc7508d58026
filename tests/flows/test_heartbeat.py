from __future__ import annotations

import threading
import time

from prefect import flow, tags

from flows.heartbeat import heartbeats


def beating() -> bool:
    return any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_outside_a_flow_run_nothing_beats():
    with heartbeats():
        assert not beating()


def test_a_flow_run_beats_until_its_block_ends_and_not_a_moment_longer(prefect_api, client):
    @flow(name="beating")
    def story():
        with heartbeats(every_s=60.0):
            assert beating()
            time.sleep(0.2)
            left = time.monotonic()
        assert not beating()
        return time.monotonic() - left

    with tags("opendt"):
        state = story(return_state=True)
    assert state.result() < 1.0
    run_id = f"prefect.flow-run.{state.state_details.flow_run_id}"
    wanted = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [run_id]}}}
    deadline = time.monotonic() + 30
    while not (events := client.request("POST", "/events/filter", json=wanted).json()["events"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "prefect.tag.opendt" in {resource["prefect.resource.id"] for resource in events[0]["related"]}
