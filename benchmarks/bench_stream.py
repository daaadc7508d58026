"""The stream alone: a trace through Kafka into windows, in each layout, on either broker.

Usage: python benchmarks/bench_stream.py --trace DIR [--broker embedded|real|HOST:PORT] [--layouts columns,opendt-v1]
           [--speed 3600] [--repeat 3] [--out benchmarks/results/stream.json]

Per layout: seconds from an empty topic to the last window, messages and megabytes per second, percentiles of the time
between windows, and peak memory of producer and consumer, each a process of its own. Before that, percentiles of the
time a single record takes from producer to consumer at 500 records a second. ``real`` starts a KRaft node from Maven
artifacts (Java 17).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from record import surroundings

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def address_of(broker: str) -> Iterator[str]:
    """Address of the broker asked for."""
    if broker == "embedded":
        from opendt.stream.broker import embedded_broker

        with embedded_broker() as address:
            yield address
    elif broker == "real":
        from opendt.stream.testing import local_kafka

        with local_kafka(ROOT / ".cache/kafka") as server:
            yield server.address
    else:
        yield broker


def peak_mb(pid: int) -> float | None:
    """Largest resident set a process has had [MB], None where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), None)


def measure(trace: str, address: str, layout: str, speed: float) -> dict[str, Any]:
    """One replay read to its end, in this process; run it in a fresh one for the peak of memory."""
    from opendt.settings import StreamSettings, TopicSettings, WindowSettings
    from opendt.stream import topics
    from opendt.stream.replay_process import ReplayProcess
    from opendt.stream.source import open_windows

    tag = uuid.uuid4().hex[:8]
    names = {name: f"{field.default}.{tag}" for name, field in TopicSettings.model_fields.items()}
    settings = StreamSettings(bootstrap_servers=address, layout=layout, speed=speed, topics=TopicSettings(**names))
    topics.ensure(settings)
    producer_mb: list[float] = []
    replay = ReplayProcess(Path(trace), settings, "dc", tag, start_sequences={})
    closed: list[float] = []
    fragments = windows = 0
    process_started = time.perf_counter()
    with replay, open_windows(settings, WindowSettings(), "dc", tag) as stream:
        for batch in stream:
            closed.append(time.perf_counter())
            fragments += len(batch.workload.fragments)
            windows += 1
            peak = peak_mb(replay.pid or 0)
            if peak is not None:
                producer_mb.append(peak)
        ended = time.perf_counter()
        report = replay.wait(60.0)
    gaps = sorted(b - a for a, b in pairwise(closed)) or [0.0]
    return {
        "layout": layout,
        "speed": speed,
        "windows": windows,
        "fragments": fragments,
        "messages": report.messages,
        "payload_mb": report.payload_bytes / 1e6,
        "total_s": ended - process_started,
        "first_window_s": closed[0] - process_started if closed else None,
        "replay_s": report.wall_s,
        "messages_per_s": report.messages / report.wall_s,
        "mb_per_s": report.payload_bytes / 1e6 / report.wall_s,
        "max_lag_s": report.max_lag_s,
        "between_windows_ms": {f"p{p}": 1e3 * gaps[min(len(gaps) - 1, len(gaps) * p // 100)] for p in (50, 95, 99)},
        "consumer_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "producer_peak_mb": max(producer_mb, default=None),
    }


def probe(address: str, count: int = 2000, per_s: float = 500.0) -> dict[str, float]:
    """End-to-end latency of single records at a modest rate, producer to consumer [ms]."""
    from opendt.settings import StreamSettings
    from opendt.stream import kafka

    settings = StreamSettings(bootstrap_servers=address)
    topic = f"latency.{uuid.uuid4().hex[:8]}"
    producer = kafka.producer(settings, lambda error: sys.exit(str(error)))
    consumer = kafka.consumer(settings, "latency")
    if not kafka.is_embedded(kafka.cluster_id(consumer, settings)):
        admin = kafka.admin(settings)
        admin.create_topics([kafka.new_topic(topic, 1, 1, {})])[topic].result(15)
    kafka.partition_count(consumer, topic, settings)
    kafka.assign(consumer, {(topic, 0): kafka.OFFSET_BEGINNING})
    seconds: list[float] = []
    started = time.perf_counter()
    sent = 0
    while len(seconds) < count and time.perf_counter() - started < 60:
        while sent < count and time.perf_counter() - started >= sent / per_s:
            producer.produce(topic, repr(time.perf_counter()).encode(), partition=0)
            sent += 1
        producer.poll(0)
        seconds += [
            time.perf_counter() - float(m.value()) for m in kafka.poll(consumer, settings, 0.001, 100) if m.value()
        ]
    consumer.close()
    seconds.sort()
    return {f"p{p}": 1e3 * seconds[min(len(seconds) - 1, len(seconds) * p // 100)] for p in (50, 95, 99)}


def in_fresh_process(trace: str, address: str, layout: str, speed: float) -> dict[str, Any]:
    """``measure`` in a new interpreter, so that peaks of memory do not add up."""
    command = [sys.executable, __file__, "--trace", trace, "--broker", address, "--one", layout, "--speed", str(speed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", required=True)
    parser.add_argument("--broker", default="embedded")
    parser.add_argument("--layouts", default="columns,opendt-v1,opendt-v0")
    parser.add_argument("--speed", type=float, default=-1.0)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.trace, arguments.broker, arguments.one, arguments.speed)))
        return
    about, results = surroundings(), []
    with address_of(arguments.broker) as address:
        first = probe(address)  # while broker and connections warm up
        latency = probe(address)
        print("single record, ms:", "  ".join(f"{name} {value:.1f}" for name, value in latency.items()))
        for layout in arguments.layouts.split(","):
            runs = [
                in_fresh_process(arguments.trace, address, layout, arguments.speed) for _ in range(arguments.repeat)
            ]
            best = sorted(runs, key=lambda run: run["total_s"])[len(runs) // 2]
            best["total_s_all"] = [run["total_s"] for run in runs]
            results.append(best)
            print(
                f"{layout:10} {best['total_s']:6.2f} s  {best['messages']:9,} messages  "
                f"{best['messages_per_s']:9,.0f}/s  {best['mb_per_s']:6.1f} MB/s  "
                f"consumer {best['consumer_peak_mb']:.0f} MB  producer {best['producer_peak_mb'] or 0:.0f} MB"
            )
    if arguments.out:
        record = {
            "trace": Path(arguments.trace).name,
            "broker": arguments.broker,
            **about,
            "first_latency_ms": first,
            "latency_ms": latency,
            "results": results,
        }
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
