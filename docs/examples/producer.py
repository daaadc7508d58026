"""Send a small cluster's telemetry to OpenDT: what a scheduler and a power meter would report, in layout `columns`.

Usage: python producer.py localhost:9092
"""

import json
import sys
import zlib

from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": sys.argv[1]})
partitions = {topic: len(producer.list_topics(topic).topics[topic].partitions) for topic in ("dc.workload", "dc.power")}
START_MS = 1_700_000_000_000 // 3_600_000 * 3_600_000  # an hour sharp, UTC


def send(topic: str, key: str, **message) -> None:
    value = json.dumps({"v": 1, **message}).encode()
    producer.produce(topic, value, key, partition=zlib.crc32(key.encode()) % partitions[topic])


for hour in range(3):  # one job an hour, 40 minutes long, described by 80 fragments of 30 s
    submitted_ms = START_MS + hour * 3_600_000 + 60_000
    job = {"task": f"job-{hour}", "time_ms": submitted_ms}
    send(
        "dc.workload",
        f"dc/job-{hour}",
        type="task",
        submission_ms=submitted_ms,
        duration_ms=2_400_000,
        order=hour,
        cpu_count=8,
        cpu_capacity_mhz=16_000.0,
        mem_capacity=8_000,
        fragment_count=80,
        has_cpu_usage=True,
        **job,
    )
    send(
        "dc.workload",
        f"dc/job-{hour}",
        type="fragments",
        first=0,
        count=80,
        duration_ms=30_000,
        cpu_usage_mhz=12_000.0,
        **job,
    )
for sample in range(3 * 120):  # the meter reports every 30 s
    busy = 60 <= sample % 120 * 30 < 60 + 2_400
    send("dc.power", "dc", type="power", time_ms=START_MS + sample * 30_000, power_w=310.0 if busy else 160.0)
for topic, count in partitions.items():  # nothing older than this follows: windows up to here may close
    for partition in range(count):
        beat = json.dumps({"v": 1, "type": "heartbeat", "time_ms": START_MS + 3 * 3_600_000})
        producer.produce(topic, beat.encode(), partition=partition)
producer.flush()
