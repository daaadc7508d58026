"""Memory of producer and twin over many weeks of trace: it must not grow after the first.

Usage: python benchmarks/bench_soak.py [--trace DIR] [--rounds 10] [--out benchmarks/results/soak.json]

A week is replayed again and again at full speed through a real Kafka (Java 17, Maven) by one process and followed by
another, `opendt twin`. Noted is the largest resident set of both in each round, at least three. Without --trace the
SURF week of ../shared/traces is taken, or one is generated.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from record import publish, surroundings

from opendt.errors import OpenDTError
from opendt.lake import Lake
from opendt.settings import LakeSettings, StreamSettings
from opendt.stream.replay import ReplayProgress
from opendt.stream.replay_process import ReplayProcess
from opendt.stream.testing import local_kafka
from opendt.traces.reader import read_trace
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("OPENDT_SHARED", ROOT.parent / "shared"))
RUN = "soak"
ALLOWED_GROWTH = 0.10
LOOK_EVERY_S = 0.1
HOUR_MS = 3_600_000
_PREPARE = "from opendt.engine.native.engine import NativeEngine; NativeEngine().prepare()"


def resident_mb(pid: int) -> float:
    """Resident set of a process now [MB]; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


class Samples:
    """The largest resident set of a process in each round: noted often, kept per round."""

    def __init__(self) -> None:
        self.peaks_mb: list[float] = []
        self.last_mb: list[float] = []

    def note(self, number: int, mb: float) -> None:
        """A measurement in round ``number``, counted from 0."""
        while len(self.peaks_mb) <= number:
            self.peaks_mb.append(0.0)
            self.last_mb.append(0.0)
        if mb > 0:
            self.peaks_mb[number] = max(self.peaks_mb[number], mb)
            self.last_mb[number] = mb

    def growth(self) -> float:
        """Largest peak from the third round on, relative to that of the second: the first one still fills buffers."""
        return max(self.peaks_mb[2:]) / self.peaks_mb[1] - 1

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "peak_mb_per_round": [round(mb, 1) for mb in self.peaks_mb],
            "end_mb_per_round": [round(mb, 1) for mb in self.last_mb],
            "growth_over_first_round_pct": round(100 * (max(self.peaks_mb[1:]) / self.peaks_mb[0] - 1), 1),
            "growth_after_first_round_pct": round(100 * self.growth(), 1),
            "flat": self.growth() <= ALLOWED_GROWTH,
        }


class Sent:
    """How much trace time the producer has sent [ms]."""

    def __init__(self) -> None:
        self.span_ms = 0
        self._begin_ms: int | None = None

    def note(self, progress: ReplayProgress) -> None:
        """What the producer says."""
        if self._begin_ms is None:
            self._begin_ms = progress.time_ms
        self.span_ms = progress.time_ms - self._begin_ms


class Committed:
    """How far the twin is; keeps the lake open and asks every two seconds, because looking costs."""

    def __init__(self, lake: Path) -> None:
        self._path, self._count, self._next = lake, 0, 0.0
        self._lake: Lake | None = None

    def windows(self) -> int:
        """Windows committed, as of the last look."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 2.0
            try:
                self._lake = self._lake or Lake.open(LakeSettings(path=self._path), read_only=True)
                self._count = int(self._lake.rows("SELECT count(*) AS n FROM windows")[0]["n"])
            except OpenDTError:
                pass  # not there yet
        return self._count


def soak(trace: Path, rounds: int, folder: Path, address: str) -> dict[str, Any]:
    """Replay and follow; the memory of both per round."""
    stream, config = {"bootstrap_servers": address}, folder / "config.yaml"
    settings = {"stream": stream, "lake": {"path": str(folder / "lake")}, "prefect": {"port": 1}}
    config.write_text(yaml.safe_dump(settings))
    opendt = str(Path(sys.executable).with_name("opendt"))
    command = [opendt, "twin", "--run-id", RUN, "--topology", str(trace / "topology.json"), "--config", str(config)]
    period_ms, sent = _period_ms(trace), Sent()
    replay = ReplayProcess(
        trace, StreamSettings(**stream), "dc", RUN, start_sequences={}, loop=rounds, on_progress=sent.note
    )
    subprocess.run([sys.executable, "-c", _PREPARE], check=True)  # compiling would count as memory of the first round
    started, producer, twin = time.monotonic(), Samples(), Samples()
    with (folder / "twin.log").open("wb") as log:
        follower = subprocess.Popen([*command, "--json"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with replay:
            done = Committed(folder / "lake")
            while follower.poll() is None:
                producer.note(min(sent.span_ms // period_ms, rounds - 1), resident_mb(replay.pid or 0))
                twin.note(min(done.windows() // (period_ms // HOUR_MS), rounds - 1), resident_mb(follower.pid))
                time.sleep(LOOK_EVERY_S)
            report = replay.wait(60)
    finally:
        follower.kill()
        follower.wait()
    if follower.returncode:
        raise SystemExit((folder / "twin.log").read_text()[-3000:])
    return {
        "rounds": rounds, "windows": Committed(folder / "lake").windows(), "messages": report.messages,
        "payload_mb": round(report.payload_bytes / 1e6, 1), "producer_s": round(report.wall_s, 1),
        "total_s": round(time.monotonic() - started, 1), "producer": producer.as_dict(), "twin": twin.as_dict(),
    }  # fmt: skip


def _period_ms(trace: Path) -> int:
    from opendt.stream.selection import round_of

    read = read_trace(trace)
    second = round_of(read, 1).workload.tasks.submission_ms
    return int(second.min() - read.workload.tasks.submission_ms.min())


def main() -> None:
    """Measure, print, write; exit code 1 when memory grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.rounds < 3:
        parser.error("--rounds must be at least 3")
    about = surroundings()
    with tempfile.TemporaryDirectory(prefix="opendt-soak-") as name, local_kafka(ROOT / ".cache/kafka") as server:
        folder = Path(name)
        trace = arguments.trace or SHARED / "traces" / "surf"
        if not trace.exists():
            trace = folder / "week"
            make_trace(trace, SyntheticOptions())
        found = soak(trace, arguments.rounds, folder, server.address)
    publish({**found, "trace": trace.name, **about}, arguments.out)
    sys.exit(0 if found["producer"]["flat"] and found["twin"]["flat"] else 1)


if __name__ == "__main__":
    main()
