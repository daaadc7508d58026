"""Kill -9 producer, twin and broker at random moments; the lake must end as if nothing had happened.

Usage: python tests/stream/chaos.py [--moments 30] [--seed 1] [--out benchmarks/results/chaos.json]

``opendt replay`` sends a generated trace into a real Kafka, ``opendt twin`` follows it into a lake. Once they are left
alone; once they and the broker are killed at windows drawn from the seed, and started again with the same ids and data.
Then every row of every result table is compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from opendt.errors import OpenDTError
from opendt.lake import Lake
from opendt.lake.schema import TABLES
from opendt.models.messages import StreamPosition
from opendt.settings import LakeSettings, TopicSettings
from opendt.stream.testing import LocalKafka, local_kafka
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions

ROOT = Path(__file__).parents[2]
RUN = "chaos"
TRANSIENT = 75  # exit code of a command that may simply be started again
VICTIMS = ("producer", "twin", "broker")
LONGEST_S = 3600.0
LONGEST_PAUSE_S = 0.5

# Wall clock, and how far reading had come when a window was committed: any two runs differ in these.
VOLATILE = frozenset({
    "wall_ms", "wall_s", "committed_ms", "created_ms", "started_ms", "ended_ms", "duration_ms", "duration_s",
    "stages_json", "config_json", "offsets_json", "twin_state",
})  # fmt: skip
# Says what the last process of the producer sent, not what the twin made of it.
OTHERS = frozenset({"replays"})


def fresh_topics() -> dict[str, str]:
    """Topic names that nobody has used: the usual ones after a tag and a dot."""
    tag = f"{random.SystemRandom().randrange(16**8):08x}"
    return {name: f"{tag}.{field.default}" for name, field in TopicSettings.model_fields.items()}


@dataclass
class Process:
    """A command that may die, its output kept in a file."""

    name: str
    command: list[str]
    log: Path
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a process group of its own."""
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Kill -9 it and its helpers."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, not to its helpers."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def code(self) -> int | None:
        """Exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    def completed(self) -> bool:
        """Whether it has done its work. One that gave up for a while is started again.

        Raises:
            AssertionError: it failed for good.
        """
        if self.code == TRANSIENT:
            self.start()
        assert self.code in (None, 0), f"{self.name} ended with exit code {self.code}: {self.log.read_text()[-3000:]}"
        return self.code == 0


class Scene:
    """Topics, a lake, a producer and a twin of their own on a broker that may be shared.

    Args:
        server: the broker.
        trace: folder of the trace.
        folder: for lake, configuration and logs; created.
        speed: trace seconds per second, -1 as fast as possible.
        window_s: length of a window in trace time [s].
    """

    def __init__(self, server: LocalKafka, trace: Path, folder: Path, *, speed: float, window_s: int) -> None:
        folder.mkdir(parents=True)
        self.server, self.lake = server, folder / "lake"
        config = folder / "config.yaml"
        settings = {
            "stream": {
                "bootstrap_servers": server.address,
                "topics": fresh_topics(),
            },
            "windows": {"length_s": window_s},
            "lake": {"path": str(self.lake)},
            "prefect": {"port": 1},  # nobody's server
        }
        config.write_text(yaml.safe_dump(settings))
        opendt = [str(Path(sys.executable).with_name("opendt"))]
        producer = ["replay", "--trace", trace, "--replay-id", RUN, "--speed", speed, "--config", config, "--json"]
        twin = ["twin", "--topology", trace / "topology.json", "--run-id", RUN, "--config", config, "--json"]
        self.producer = Process("producer", [*opendt, *map(str, producer)], folder / "producer.log")
        self.twin = Process("twin", [*opendt, *map(str, twin)], folder / "twin.log")
        self._reader: Lake | None = None
        self.first_s = 0.0

    def run(self, kills: list[Kill] | None = None) -> float:
        """Start both, carry out the kills as windows come in, wait for the end of both; seconds it took.

        ``first_s`` tells afterwards how long the first window took.
        """
        started, waiting = time.monotonic(), list(kills or [])
        try:
            self.producer.start()
            self.twin.start()
            while not self._over() or waiting:
                assert time.monotonic() - started < LONGEST_S, f"not done after {LONGEST_S:g} s"
                committed = self.committed()
                if committed and not self.first_s:
                    self.first_s = time.monotonic() - started
                if waiting and committed >= waiting[0].window:
                    self._carry_out(waiting.pop(0))
                time.sleep(0.1)
        finally:
            self.producer.kill()
            self.twin.kill()
            if self._reader is not None:
                self._reader.close()
        return time.monotonic() - started

    def _over(self) -> bool:
        ended = [self.producer.completed(), self.twin.completed()]
        return all(ended)

    def committed(self) -> int:
        """Windows in the lake."""
        try:
            if self._reader is None:
                self._reader = Lake.open(LakeSettings(path=self.lake), read_only=True)
            return len(self._reader.committed_windows(RUN))
        except OpenDTError:
            return 0  # not there yet

    def _carry_out(self, kill: Kill) -> None:
        time.sleep(kill.pause_s)
        kill.committed = self.committed()
        if kill.victim == "producer" and self.producer.code == 0:
            kill.victim = "twin"  # has sent everything already
        if kill.victim == "broker":
            self.server.kill()
            self.server.start()
            return
        process = self.producer if kill.victim == "producer" else self.twin
        kill.alive = process.code is None
        process.kill()
        process.start()


@dataclass
class Kill:
    """Who is killed when: as soon as ``window`` windows are in the lake, and ``pause_s`` later.

    ``committed`` windows were in the lake then; ``alive`` tells whether the victim was not between two lives.
    """

    window: int
    pause_s: float
    victim: str
    committed: int = 0
    alive: bool = True


def draw(moments: int, windows: int, seed: int) -> list[Kill]:
    """As many moments, spread over the first nine tenths of the windows; every kind of victim equally often."""
    rng = random.Random(seed)
    victims = [VICTIMS[n % len(VICTIMS)] for n in range(moments)]
    rng.shuffle(victims)
    at = sorted(rng.sample(range(1, max(moments + 1, windows * 9 // 10)), moments))
    return [Kill(window, rng.uniform(0, LONGEST_PAUSE_S), victim) for window, victim in zip(at, victims, strict=True)]


def contents(lake: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every result table in order of its key, without the volatile columns."""
    found = {}
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        for table in TABLES:
            if table.name in OTHERS:
                continue
            columns = [column.name for column in table.columns if column.name not in VOLATILE]
            order = ", ".join(name for name in table.key if name in columns)
            found[table.name] = opened.rows(f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {order}")
        states = opened.rows("SELECT twin_state FROM checkpoints ORDER BY run_id, datacenter")
    for row, state in zip(found["checkpoints"], states, strict=True):
        row["engine_state"] = hashlib.sha256(row["engine_state"]).hexdigest()
        row["remembered"] = _remembered(state["twin_state"])
    return found


def _remembered(twin_state: bytes) -> dict[str, Any]:
    """What a twin remembers, of its place in the stream the records it has counted, but not where they lie."""
    values = json.loads(twin_state)
    position = StreamPosition.from_json(values["position"])
    marks = {
        f"{replay} {topic.partition('.')[2]}/{partition}": (mark.last, mark.checksum)
        for (replay, topic, partition), mark in position.sequences.items()
    }
    return values | {"position": {"ended": position.ended, "closed_until_ms": position.closed_until_ms} | marks}


def differences(calm: dict[str, list[dict[str, Any]]], wild: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What is different, a sentence per table."""
    found = []
    for name, rows in calm.items():
        others = wild[name]
        if len(rows) != len(others):
            found.append(f"{name}: {len(rows)} rows undisturbed, {len(others)} with kills")
        elif rows != others:
            first = next(n for n in range(len(rows)) if rows[n] != others[n])
            found.append(f"{name}: row {first}: {'; '.join(_unequal(rows[first], others[first]))[:600]}")
    return found


def _unequal(calm: Any, wild: Any, path: str = "") -> list[str]:
    if isinstance(calm, dict) and isinstance(wild, dict):
        names = sorted(calm.keys() | wild.keys())
        return [part for name in names for part in _unequal(calm.get(name), wild.get(name), f"{path}/{name}")]
    return [] if calm == wild else [f"{path[1:]} is {calm} undisturbed, {wild} with kills"]


@dataclass
class Outcome:
    """What became of a chaos run."""

    seed: int
    kills: list[Kill]
    rows: dict[str, int]
    differences: list[str]
    windows: int
    calm_s: float
    wild_s: float
    starts: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        killed = {victim: sum(kill.victim == victim for kill in self.kills) for victim in VICTIMS}
        return {
            "seed": self.seed, "moments": len(self.kills), "killed": killed, "windows": self.windows,
            "identical": not self.differences, "differences": self.differences,
            "rows_compared": sum(self.rows.values()), "rows": self.rows, "columns_left_out": sorted(VOLATILE),
            "tables_left_out": sorted(OTHERS), "undisturbed_s": round(self.calm_s, 1),
            "with_kills_s": round(self.wild_s, 1), "starts": self.starts,
            "kills": [
                {"victim": k.victim, "window": k.window, "committed": k.committed, "alive": k.alive}
                for k in self.kills
            ],
        }  # fmt: skip


def chaos(server: LocalKafka, folder: Path, *, moments: int, seed: int, windows: int, window_s: int) -> Outcome:
    """Both runs and the comparison.

    Args:
        server: a broker that may be killed; runs again afterwards.
        folder: for trace, lakes and logs.
        moments: how often someone is killed.
        seed: of trace and moments.
        windows: at least so many, more than moments.
        window_s: length of a window in trace time [s].
    """
    trace = folder / "trace"
    make_trace(trace, SyntheticOptions(days=windows * window_s / 86_400, hosts=10, seed=seed, tasks_per_day=300))
    calm = Scene(server, trace, folder / "calm", speed=-1, window_s=window_s)
    calm_s = calm.run()
    expected = contents(calm.lake)
    found = len(expected["windows"])
    # Slow enough that the producer outlives the kills, each of which costs half a start of the twin on average.
    speed = windows * window_s / (moments * (calm.first_s / 2 + 2.0))
    kills = draw(moments, found, seed)
    wild = Scene(server, trace, folder / "wild", speed=speed, window_s=window_s)
    wild_s = wild.run(kills)
    rows = {name: len(rows) for name, rows in expected.items()}
    starts = {process.name: process.starts for process in (wild.producer, wild.twin)}
    return Outcome(seed, kills, rows, differences(expected, contents(wild.lake)), found, calm_s, wild_s, starts)


def main() -> None:
    """Run, print, write; exit code 1 when the lakes differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for lakes and logs, kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="opendt-chaos-") as temporary, local_kafka(ROOT / ".cache/kafka") as server:
        folder = arguments.keep or Path(temporary)
        outcome = chaos(
            server, folder, moments=arguments.moments, seed=arguments.seed,
            windows=12 * arguments.moments, window_s=1800,
        ).as_dict()  # fmt: skip
    outcome |= {
        "machine": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0], "commit": _commit(),
    }  # fmt: skip
    print(json.dumps(outcome, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(outcome, indent=2) + "\n")
    sys.exit(0 if outcome["identical"] else 1)


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
