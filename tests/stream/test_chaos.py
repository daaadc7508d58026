"""Producer, broker and twin are killed at random moments; what arrives is what was sent, once."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from stream_chaos import chaos, differences, draw

from opendt.errors import TransientError
from opendt.settings import WindowSettings
from opendt.stream.replay_process import ReplayProcess
from opendt.stream.source import open_windows
from opendt.traces.writer import write_power, write_topology, write_workload

pytestmark = [pytest.mark.java, pytest.mark.slow]
WINDOWS = WindowSettings(length_s=900)


@pytest.fixture
def folder(tmp_path, make):
    trace = make(seed=11, tasks=120, hours=6.0, most_fragments=600)
    write_workload(tmp_path, trace.workload)
    write_power(tmp_path, trace.power, 30_000, int(trace.workload.tasks.submission_ms.min()))
    write_topology(tmp_path, trace.topology)
    return tmp_path


def content(batches):
    return [
        (b.index, b.start_ms, b.last, b.workload.tasks.task_id.tolist(), b.workload.fragments.task_id.tolist(),
         b.workload.fragments.cpu_usage_mhz.tolist(), b.power.power_w.tolist()) for b in batches
    ]  # fmt: skip


def undisturbed(settings, folder):
    with (
        ReplayProcess(folder, settings, "dc", "calm", start_sequences={}),
        open_windows(settings, WINDOWS, "dc", "calm") as stream,
    ):
        return content(stream)


ROUNDS = int(os.environ.get("OPENDT_CHAOS_ROUNDS", "2"))


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_run_with_kills_is_the_undisturbed_run(kafka_server, real, folder, seed):
    """Six hours of trace in about four seconds; each second someone dies. OPENDT_CHAOS_ROUNDS=10 kills 30 times."""
    rng = random.Random(seed)
    expected = undisturbed(real, folder)
    settings = real.model_copy(update={"speed": 6 * 3600 / 4.0, "poll_timeout_s": 20.0})
    batches, position = [], None
    replay = ReplayProcess(folder, settings, "dc", "wild")
    replay.start()
    kills = [rng.choice(["producer", "broker", "reader"]) for _ in range(3)]
    try:
        while not (batches and batches[-1].last):
            deadline = time.monotonic() + rng.uniform(0.3, 1.5)
            with open_windows(settings, WINDOWS, "dc", "wild", position, len(batches)) as stream:
                for batch in stream:
                    batches.append(batch)
                    position = batch.position
                    if kills and time.monotonic() > deadline:
                        break
            if kills:
                replay = disturb(kills.pop(), kafka_server, replay, folder, settings)
    finally:
        replay.close()
    assert kills == []
    assert content(batches) == expected


@pytest.mark.timeout(1200)
def test_kill_minus_9_five_times_leaves_the_lake_of_an_undisturbed_run(kafka_server, tmp_path):
    """The short form of `make chaos`, which does it 30 times."""
    outcome = chaos(kafka_server, tmp_path, moments=5, seed=4, windows=60, window_s=1800)
    assert outcome.differences == []
    assert outcome.rows["power_samples"] > 2000
    assert {kill.victim for kill in outcome.kills} == {"producer", "twin", "broker"}
    assert outcome.starts["twin"] > 1


def test_moments_are_those_of_their_seed():
    moments = [(kill.window, kill.pause_s, kill.victim) for kill in draw(30, 180, seed=7)]
    assert moments == [(kill.window, kill.pause_s, kill.victim) for kill in draw(30, 180, seed=7)]
    assert len({window for window, _, _ in moments}) == 30
    assert max(window for window, _, _ in moments) < 0.9 * 180


def test_a_row_too_many_or_another_value_is_a_difference():
    calm = {"windows": [{"window_index": 0, "energy_j": 1.0}], "runs": [{"windows": 1}]}
    assert differences(calm, calm) == []
    (twice,) = differences(calm, calm | {"windows": calm["windows"] * 2})
    assert twice == "windows: 1 rows undisturbed, 2 with kills"
    (other,) = differences(calm, calm | {"windows": [{"window_index": 0, "energy_j": 2.0}]})
    assert other == "windows: row 0: energy_j is 1.0 undisturbed, 2.0 with kills"


def disturb(what, kafka_server, replay, folder, settings):
    """Kill; a producer that died, or gave up with its broker, is started again with the same replay id."""
    if what == "broker":
        kafka_server.kill()
        kafka_server.start()
    if what == "producer" and not ended(replay):
        os.kill(replay.pid, signal.SIGKILL)
    if what == "producer" or failed(replay):
        replay.close()
        replay = ReplayProcess(folder, settings, "dc", "wild")
        replay.start()
    return replay


def ended(replay):
    try:
        return replay.poll() is not None
    except TransientError:
        return True


def failed(replay):
    try:
        replay.poll()
    except TransientError:
        return True
    return False
