"""Several processes write one lake; some are killed. Nothing is lost, nothing is half there."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from opendt.lake import Lake
from opendt.settings import LakeSettings

SCRIPT = Path(__file__).with_name("write_windows.py")
SAMPLES = 30

HALF_WINDOWS = """
    WITH power AS (SELECT run_id, window_index, count(*) AS samples FROM power_samples GROUP BY ALL),
         tasks AS (SELECT run_id, window_index, count(*) AS events FROM task_events GROUP BY ALL)
    SELECT run_id, window_index, samples, events
    FROM (SELECT DISTINCT run_id, window_index FROM windows)
    FULL JOIN power USING (run_id, window_index) FULL JOIN tasks USING (run_id, window_index)
    WHERE samples IS DISTINCT FROM ? OR events IS DISTINCT FROM 1
"""


def _start(settings: LakeSettings, run_id: str, windows: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(settings.path), run_id, str(windows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_three_writers_and_a_reader_lose_nothing(settings: LakeSettings) -> None:
    Lake.open(settings).close()
    writers = [_start(settings, f"run-{n}", 5) for n in range(3)]
    seen = 0
    with Lake.open(settings, read_only=True) as reader:
        while any(writer.poll() is None for writer in writers):
            assert reader.rows(HALF_WINDOWS, [SAMPLES]) == []
            now = reader.query("SELECT count(*) AS n FROM windows")["n"][0].as_py()
            assert now >= seen
            seen = now
            time.sleep(0.1)  # leave the processors to the writers
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    with Lake.open(settings, read_only=True) as reader:
        assert reader.rows("SELECT run_id, count(*) AS n FROM windows GROUP BY 1 ORDER BY 1") == [
            {"run_id": f"run-{n}", "n": 5} for n in range(3)
        ]
        assert reader.rows(HALF_WINDOWS, [SAMPLES]) == []
        assert reader.rows("SELECT run_id, window_index FROM checkpoints ORDER BY 1") == [
            {"run_id": f"run-{n}", "window_index": 4} for n in range(3)
        ]


def test_writer_killed_in_the_middle_leaves_whole_windows_and_its_checkpoint(settings: LakeSettings) -> None:
    Lake.open(settings).close()
    for round_ in range(3):
        writer = _start(settings, "run-k", 1_000)
        assert writer.stdout is not None
        announced = -1
        for _ in range(round_ + 2):
            announced = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)  # most likely inside the next commit
        writer.communicate()

        with Lake.open(settings) as lake:  # for writing: the lock must have died with its holder
            committed = lake.committed_windows("run-k", "dc")
            assert committed[: announced + 1] == list(range(announced + 1))
            assert lake.rows(HALF_WINDOWS, [SAMPLES]) == []
            saved = lake.latest_checkpoint("run-k", "dc")
            assert saved is not None
            assert saved.window_index in committed
            assert saved.engine_state == str(saved.window_index).encode() * 1_000
