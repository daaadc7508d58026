"""The commands: replay, topics, stream tail, dead-letters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from typer.testing import CliRunner

from opendt.cli import app
from opendt.lake.lake import Lake
from opendt.settings import LakeSettings, WindowSettings
from opendt.stream import kafka
from opendt.stream.source import open_windows
from opendt.traces.writer import write_power, write_topology, write_workload


@pytest.fixture(params=["embedded"])
def settings(request):
    """Each command starts processes, so that one broker has to do, except where a test names the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder(tmp_path, trace):
    path = tmp_path / "trace"
    path.mkdir()
    write_workload(path, trace.workload)
    write_power(path, trace.power, 30_000, int(trace.workload.tasks.submission_ms.min()))
    write_topology(path, trace.topology)
    return path


@pytest.fixture
def opendt(settings, tmp_path):
    """Run a command against the broker under test: its exit code and standard output."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"stream": settings.model_dump(mode="json", exclude={"security"})}))

    def run(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*map(str, arguments), "--config", str(config)], catch_exceptions=False)
        return result.exit_code, result.stdout

    run.config = config
    return run


def test_replay_sends_a_trace_that_can_be_read(opendt, settings, folder, trace):
    code, said = opendt("replay", "--trace", folder, "--replay-id", "r1", "--json")
    report = json.loads(said)
    assert code == 0
    assert (report["state"], report["layout"], report["datacenter"]) == ("completed", "columns", "dc")
    with open_windows(settings, WindowSettings(), "dc", "r1") as stream:
        assert sum(len(b.workload.fragments) for b in stream) == len(trace.workload.fragments)


def test_several_datacenters_share_topics_and_each_reader_takes_its_own(opendt, settings, folder, trace):
    code, said = opendt(
        "replay", "--trace", folder, "--trace", folder, "--datacenter", "north", "--datacenter", "south",
        "--replay-id", "r", "--json",
    )  # fmt: skip
    assert code == 0
    assert [report["replay_id"] for report in json.loads(said)] == ["r-north", "r-south"]
    for name in ("north", "south"):
        with open_windows(settings, WindowSettings(), name, f"r-{name}") as stream:
            batches = list(stream)
        assert sum(len(b.workload.tasks) for b in batches) == len(trace.workload.tasks)
        assert sum(b.ignored for b in batches) > 0


def test_replay_enters_what_it_sent_in_the_lake_it_is_given(opendt, folder, tmp_path):
    lake = tmp_path / "lake"
    sent = json.loads(opendt("replay", "--trace", folder, "--replay-id", "r1", "--lake", lake, "--json")[1])
    nowhere = ("--topology", folder / "nowhere.json")
    assert opendt("replay", "--trace", folder, "--replay-id", "r2", "--lake", lake, *nowhere)[0] == 2
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        completed, failed = opened.rows("SELECT * FROM replays ORDER BY replay_id")
    for name in ("datacenter", "layout", "speed", "messages", "payload_bytes", "max_lag_s", "state", "ended_ms"):
        assert completed[name] == sent[name]
    assert (completed["trace"], completed["run_id"], completed["state"]) == ("trace", None, "completed")
    assert (failed["state"], failed["messages"]) == ("failed", None)


def test_replay_refuses_what_makes_no_sense(opendt, folder):
    assert opendt("replay", "--trace", folder, "--datacenter", "a", "--datacenter", "b")[0] == 2
    assert opendt("replay", "--trace", folder, "--start", "yesterday")[0] == 2
    assert opendt("replay", "--trace", folder / "nowhere")[0] == 2
    assert opendt("replay", "--trace", folder, "--layout", "morse")[0] == 2


def test_tail_shows_the_newest_of_each_partition(opendt, settings, folder):
    opendt("replay", "--trace", folder, "--replay-id", "r1")
    code, said = opendt("stream", "tail", settings.topics.power, "--last", "2", "--json")
    lines = json.loads(said)
    assert code == 0
    assert len(lines) == 8
    assert {line["kind"] for line in lines} <= {"power", "heartbeat", "end"}
    assert {line["replay"] for line in lines} == {"r1"}
    code, said = opendt("stream", "tail", settings.topics.topology)
    assert "topology from trace: 1 hosts, 16 cores" in said


@pytest.mark.java
@pytest.mark.parametrize("settings", ["real"], indirect=True)
def test_topics_come_and_go(opendt, settings):
    assert json.loads(opendt("topics", "create", "--json")[1])["created"]
    assert json.loads(opendt("topics", "create", "--json")[1]) == {"created": []}
    assert "every topic is there" in opendt("topics", "create")[1]
    listed = json.loads(opendt("topics", "list", "--json")[1])
    assert {row["topic"] for row in listed if row["configured"]} == {
        settings.topics.workload, settings.topics.power, settings.topics.topology, settings.topics.sim_topology,
        settings.topics.results, settings.topics.deadletter,
    }  # fmt: skip
    assert len(json.loads(opendt("topics", "describe", "--json")[1])) == 6
    assert len(json.loads(opendt("topics", "delete", "--yes", "--json")[1])["deleted"]) == 6


@pytest.mark.java
@pytest.mark.parametrize("settings", ["real"], indirect=True)
def test_sigterm_stops_a_replay_and_the_same_id_goes_on(opendt, settings, folder, trace):
    command = [sys.executable, "-c", "from opendt.cli import main; main()", "replay", "--trace", str(folder), "--json",
               "--replay-id", "r1", "--config", str(opendt.config)]  # fmt: skip
    process = subprocess.Popen([*command, "--speed", "100"], stdout=subprocess.PIPE)
    client = kafka.consumer(settings, "watch")
    deadline = time.monotonic() + 30
    while kafka.watermarks(client, settings.topics.power, 0, settings)[1] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    client.close()
    os.kill(process.pid, signal.SIGTERM)
    report = json.loads(process.communicate(timeout=30)[0])
    assert (process.returncode, report["state"]) == (0, "stopped")
    assert report["messages"] > 0
    again = json.loads(opendt("replay", "--trace", folder, "--replay-id", "r1", "--json")[1])
    assert again["state"] == "completed"
    with open_windows(settings, WindowSettings(), "dc", "r1") as stream:
        assert sum(len(b.workload.fragments) for b in stream) == len(trace.workload.fragments)


def test_dead_letters_are_shown_and_tried_again(opendt, settings, tmp_path):
    good = b'{"v":1,"type":"power","time_ms":5,"power_w":1.0}'
    key = {"run_id": "run", "datacenter": "dc", "window_index": 0, "topic": settings.topics.power, "partition": 0}
    rows = [
        key | {"offset_": 7, "reason": "old version", "payload": good, "payload_bytes": len(good), "retried_ms": None},
        key | {"offset_": 8, "reason": "not JSON", "payload": b"?", "payload_bytes": 1, "retried_ms": None},
    ]
    with Lake.open(LakeSettings(path=tmp_path / "lake")) as lake:
        lake.insert("dead_letters", rows)
    where = ("--lake", tmp_path / "lake")
    shown = json.loads(opendt("dead-letters", "show", *where, "--json")[1])
    assert [(row["offset_"], row["reason"], row["payload"]) for row in shown] == [
        (7, "old version", good.decode()), (8, "not JSON", "?"),
    ]  # fmt: skip
    tried = json.loads(opendt("dead-letters", "retry", *where, "--json")[1])
    assert [(row["offset"], row["sent"]) for row in tried] == [(7, True), (8, False)]
    left = json.loads(opendt("dead-letters", "show", *where, "--json")[1])
    assert [row["retried_ms"] is None for row in left] == [False, True]
    again = json.loads(opendt("dead-letters", "retry", *where, "--json")[1])
    assert [row["offset"] for row in again] == [8]
