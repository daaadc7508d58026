"""A writing process for the concurrency tests: FOLDER RUN WINDOWS; prints each committed window number."""

from __future__ import annotations

import sys
from pathlib import Path

from opendt.lake import Checkpoint, Lake, WindowCommit
from opendt.settings import LakeSettings

SAMPLES = 30


def main(folder: str, run_id: str, windows: int) -> None:
    with Lake.open(LakeSettings(path=Path(folder), busy_timeout_ms=30_000)) as lake:
        for index in range(windows):
            times = [index * 3_600_000 + n * 1_000 for n in range(SAMPLES)]
            rows = {
                "power_samples": {"timestamp_ms": times, "simulated_w": float(index)},
                "task_events": [{"task_id": index, "event": "submitted", "time_ms": times[0]}],
            }
            state = Checkpoint("native", str(index).encode() * 1_000, b"", "{}")
            row = {"start_ms": times[0], "end_ms": times[0] + 3_600_000}
            lake.commit_window(WindowCommit(run_id, "dc", index, rows, row, state))
            print(index, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
