"""Poison: whatever is sent, the run goes on and every record is accounted for."""

from __future__ import annotations

import random
from collections import Counter

import orjson
import pytest

from opendt.errors import StreamGapError
from opendt.settings import StreamSettings, WindowSettings
from opendt.stream import codec, kafka
from opendt.stream.deadletters import retry
from opendt.stream.envelope import BadRecord, open_envelope
from opendt.stream.layouts import decoder_of, layout_of
from opendt.stream.reader import Reader
from opendt.stream.source import open_windows
from opendt.windows.windower import Windower

TASK = {
    "v": 1, "type": "task", "time_ms": 5, "task": "7", "order": 0, "submission_ms": 5, "duration_ms": 1, "cpu_count": 1,
    "cpu_capacity_mhz": 1.0, "mem_capacity": 0, "fragment_count": 1, "has_cpu_usage": True,
}  # fmt: skip
CHUNK = {
    "v": 1, "type": "fragments", "time_ms": 5, "task": "7", "first": 0, "count": 2, "duration_ms": [1, 2],
    "cpu_usage_mhz": [1.5, 2.5],
}  # fmt: skip
POWER = {"v": 1, "type": "power", "time_ms": 5, "power_w": 1.0}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "a JSON object is expected"),
        (None, "empty record"),
        (POWER | {"v": 2}, "version is 2, known is 1"),
        (POWER | {"type": "weather"}, "type is 'weather', known are"),
        (POWER | {"type": ["power"]}, "type is"),
        (POWER | {"power_w": "1"}, "power_w is '1', must be a number"),
        (POWER | {"power_w": -1}, "power_w is -1, must be a number from 0"),
        (POWER | {"power_w": True}, "power_w is True"),
        (POWER | {"power_w": 1e300}, "power_w is 1e"),
        (POWER | {"time_ms": 5.5}, "time_ms is 5.5, must be a whole number"),
        (POWER | {"time_ms": 2**62}, "time_ms is"),
        (TASK | {"duration_ms": -5}, "duration_ms is -5"),
        (TASK | {"task": ""}, "task is '', must be a text"),
        (TASK | {"task": 7}, "task is 7, must be a text"),
        (TASK | {"has_cpu_usage": 1}, "has_cpu_usage is 1, must be true or false"),
        (TASK | {"submission_ms": 6}, "time_ms 5 of a task is not its submission_ms 6"),
        (TASK | {"parents": "8"}, "parents must be a list"),
        (CHUNK | {"duration_ms": [1]}, "duration_ms has 1 values for 2 fragments"),
        (CHUNK | {"duration_ms": [1, 2.5]}, "duration_ms must hold whole numbers"),
        (orjson.dumps(CHUNK).replace(b"[1,2]", b"[1,%d]" % 2**63), "duration_ms must hold whole numbers"),
        (CHUNK | {"duration_ms": [1, -2]}, "duration_ms holds -2"),
        (CHUNK | {"cpu_usage_mhz": [1, None]}, "cpu_usage_mhz must hold numbers"),
        (CHUNK | {"cpu_usage_mhz": [1, 1e20]}, "cpu_usage_mhz holds 1e"),
        (CHUNK | {"count": 0}, "count is 0"),
        (CHUNK | {"count": 10**9, "duration_ms": 1, "cpu_usage_mhz": 1}, "count is 1000000000"),
        ({"v": 1, "type": "topology", "time_ms": 5, "topology": {"clusters": 3}}, "topology: clusters"),
        ({"v": 1, "type": "end", "time_ms": 5, "count": -1, "checksum": 0}, "count is -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_with_the_reason(message, reason):
    value = message if isinstance(message, bytes | None) else orjson.dumps(message)
    with pytest.raises(BadRecord) as caught:
        codec.decode(value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("headers", [
    [("seq", b"x"), ("replay", b"r")], [("seq", b"-1")], [("replay", b"\xff")], [("seq", b"9" * 40)],
])  # fmt: skip
def test_headers_that_cannot_be_read_are_refused(headers):
    with pytest.raises(BadRecord, match="headers cannot be read"):
        open_envelope(headers)


@pytest.mark.parametrize("headers", [None, [], [("other", b"x")], [("seq", None), ("replay", None)]])
def test_records_without_our_headers_are_those_of_a_stranger(headers):
    envelope = open_envelope(headers)
    assert (envelope.replay, envelope.sequence, envelope.datacenter) == (None, None, None)


def test_poison_among_good_records_is_kept_with_place_and_reason_and_sent_on(settings, trace, send):
    poison = [b"not json", orjson.dumps(POWER | {"power_w": -3}), b"x" * 200_000]
    producer = kafka.producer(settings, lambda error: pytest.fail(str(error)))
    send(trace, settings, replay_id="warm", start_sequences={}).join()  # makes the topics
    for value in poison:
        producer.produce(settings.topics.power, value, b"k", 0, headers=[("replay", b"r1")])
    assert producer.flush(20) == 0
    send(trace, settings).join()
    with open_windows(settings, WindowSettings(), "dc", "r1") as stream:
        stream._reader._most = 100_000  # by setting, it would contradict the topic's own limit
        batches = list(stream)
    dead = [letter for batch in batches for letter in batch.dead]
    assert [letter.reason[:8] for letter in dead] == ["not JSON", "power_w ", "200000 b"]
    assert [letter.payload_bytes for letter in dead] == [8, len(poison[1]), 200_000]
    assert [len(letter.payload) for letter in dead] == [8, len(poison[1]), 65_536]
    assert sum(len(batch.workload.fragments) for batch in batches) == len(trace.workload.fragments)
    sent_on = sorted(read_all(settings, settings.topics.deadletter), key=lambda m: m.key())
    assert [m.value() for m in sent_on] == [letter.payload for letter in dead]
    assert sent_on[0].key() == f"{dead[0].topic}/0/{dead[0].offset}".encode()
    assert dict(sent_on[0].headers())["reason"].startswith(b"not JSON")


def read_all(settings, topic):
    client = kafka.consumer(settings, "test")
    try:
        at = {(topic, p): kafka.watermarks(client, topic, p, settings)
              for p in range(kafka.partition_count(client, topic, settings))}  # fmt: skip
        kafka.assign(client, {where: low for where, (low, _) in at.items()})
        wanted = sum(high - low for low, high in at.values())
        found = []
        while len(found) < wanted:
            found += kafka.poll(client, settings, 0.05)
        return found
    finally:
        client.close()


def test_a_dead_letter_that_is_understood_now_is_sent_again_with_its_key_and_replay(settings, trace, send):
    send(trace, settings).join()
    producer = kafka.producer(settings, lambda error: pytest.fail(str(error)))
    good = orjson.dumps(POWER | {"power_w": 42.0})
    topic = settings.topics.power
    for value in (b"still bad", good):
        producer.produce(topic, value, b"k", 2, headers=[("replay", b"r1"), ("seq", b"99999"), ("datacenter", b"dc")])
    assert producer.flush(20) == 0
    messages = [m for m in read_all(settings, topic) if m.partition() == 2][-2:]
    letters = [(topic, 2, m.offset(), b"") for m in messages]
    bad, sent = retry(settings, "dc", letters)
    assert (bad.sent, bad.reason[:8]) == (False, "not JSON")
    assert (sent.sent, sent.reason) == (True, "")
    again = [m for m in read_all(settings, topic) if m.partition() == 2][-1]
    assert (again.key(), again.value()) == (b"k", good)
    assert dict(again.headers()) == {"datacenter": b"dc", "replay": b"r1"}


class FakeMessage:
    """A message as the client gives it."""

    def __init__(self, topic, partition, offset, key, value, headers):
        self._all = topic, partition, offset, key, value, headers

    def topic(self):
        return self._all[0]

    def partition(self):
        return self._all[1]

    def offset(self):
        return self._all[2]

    def key(self):
        return self._all[3]

    def value(self):
        return self._all[4]

    def headers(self):
        return self._all[5]


def mutated(rng: random.Random, value: bytes) -> bytes | None:
    """A message with something wrong: bytes, structure, types, ranges; sometimes nothing at all."""
    choice = rng.randrange(8)
    if choice > 5:
        return value
    if choice == 0:
        return None if rng.random() < 0.2 else rng.randbytes(rng.randrange(80))
    if choice == 1:
        at = rng.randrange(len(value))
        return value[:at] + bytes([rng.randrange(256)]) + value[at + 1 :]
    if choice == 2:
        return value[: rng.randrange(len(value))]
    data = orjson.loads(value)
    name = rng.choice(list(data))
    odd = [None, -1, 2**63, 1e300, "x", "", [], [1, "a"], {}, True, 0.5, [[]], "9" * 400, {"a": {}}, -(2**63)]
    if choice == 3:
        del data[name]
    elif choice == 4:
        data[name] = rng.choice(odd)
    else:
        data[rng.choice(["time_ms", "task", "count", "first", "submission_time", "id", "v"])] = rng.choice(odd)
    return orjson.dumps(data)


class Recording(Windower):
    """Notes what became of each message at the door."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.fate = []

    def add(self, incoming):
        self.fate.append("taken")
        super().add(incoming)

    def heartbeat(self, partition, time_ms):
        noted = super().heartbeat(partition, time_ms)
        self.fate += ["taken"] if noted else []
        return noted

    def reject(self, incoming, reason):
        self.fate.append("dead")
        super().reject(incoming, reason)

    def duplicate(self, partition, offset):
        self.fate.append("duplicate")
        super().duplicate(partition, offset)

    def ignore(self):
        self.fate.append("ignored")
        super().ignore()


def drain(windower, batches):
    while (batch := windower.next_batch()) is not None:
        batches.append(batch)
        assert len(batches) < 20_000, "a forged time must not open windows without end"


def messages_of(settings, trace):
    counts = dict.fromkeys(settings.topics.model_dump().values(), 1)
    lanes = layout_of(trace, settings, "dc", counts).lanes()
    return sorted((m for lane in lanes for m in lane), key=lambda m: m.time_ms)


def reader_of(settings, windower, replay_id=None):
    return Reader(windower, decoder_of(settings), settings, "dc", replay_id, frozenset({settings.topics.topology}))


@pytest.mark.parametrize("layout", ["columns", "opendt-v1", "opendt-v0"])
def test_ten_thousand_mutated_messages_are_all_accounted_for(make, layout):
    """Each is taken, ignored or dead at the door, and nothing crashes; what is handed out is sound."""
    rng = random.Random(2022)
    settings = StreamSettings(bootstrap_servers="unused", layout=layout)
    good = messages_of(settings, make(seed=8, tasks=50, hours=3.0, most_fragments=300))
    topics = sorted({m.topic for m in good})
    windower = Recording([(t, 0) for t in topics[:-1]], [(topics[-1], 0)], WindowSettings(length_s=600), "c")
    reader = reader_of(settings, windower)
    offsets, batches, fates = dict.fromkeys(topics, -1), [], Counter()
    for n in range(3334):
        message = good[n * len(good) // 3334]
        offsets[message.topic] += 1
        headers = rng.choice([None, None, [("datacenter", b"dc")], [("datacenter", b"other")], [("seq", b"?")]])
        key = message.key if rng.random() < 0.9 else rng.randbytes(5)
        windower.fate = []
        value = mutated(rng, message.value)
        reader.take([FakeMessage(message.topic, 0, offsets[message.topic], key, value, headers)])
        assert len(windower.fate) == 1 or windower.fate == ["taken", "dead"]  # understood, but not to be believed
        fates[windower.fate[-1]] += 1
    windower.watermark.end_all()
    drain(windower, batches)
    assert windower.finished
    assert fates.total() == 3334
    assert min(fates["taken"], fates["dead"], fates["ignored"]) > 300
    assert sum(len(b.dead) for b in batches) >= fates["dead"]
    for batch in batches:
        assert (batch.workload.fragments.duration_ms >= 0).all()
        assert (batch.workload.fragments.cpu_usage_mhz >= 0).all()
        assert (batch.power.power_w >= 0).all()


def test_the_fast_way_for_single_fragments_is_the_slow_way_faster(make):
    rng = random.Random(7)
    settings = StreamSettings(bootstrap_servers="unused", layout="opendt-v0")
    good = messages_of(settings, make(seed=8, tasks=50, hours=3.0, most_fragments=100))
    offsets, log = Counter(), []
    for m in good:
        value = mutated(rng, m.value) if rng.random() < 0.05 else m.value
        headers = [("replay", b"r1"), ("seq", b"%d" % offsets[m.topic]), ("datacenter", b"dc"), *(m.extra or [])]
        log.append(FakeMessage(m.topic, 0, offsets[m.topic], m.key, value, headers))
        offsets[m.topic] += 1
    names = settings.topics
    results = []
    for fast in (True, False):
        clocks = [(names.v0_tasks, 0), (names.v0_fragments, 0), (names.power, 0)]
        windower = Windower(clocks, [(names.topology, 0)], WindowSettings(length_s=600), "c", None, 0, 300_000)
        reader = reader_of(settings, windower, "r1")
        if not fast:
            reader._decode_row = None
        batches = []
        for start in range(0, len(log), 97):
            reader.take(log[start : start + 97])
            drain(windower, batches)
        windower.watermark.end_all()
        drain(windower, batches)
        results.append([
            (b.workload.fragments.task_id.tolist(), b.workload.fragments.cpu_usage_mhz.tolist(), b.dead, b.late,
             b.filled_fragments, b.position) for b in batches
        ])  # fmt: skip
    assert results[0] == results[1]
    assert sum(len(dead) for _, _, dead, *_ in results[0]) > 50


def test_a_forged_sequence_number_is_a_gap_not_a_crash(settings, trace, send):
    send(trace, settings).join()
    producer = kafka.producer(settings, lambda error: pytest.fail(str(error)))
    headers = [("replay", b"r2"), ("seq", b"5"), ("datacenter", b"dc")]
    producer.produce(settings.topics.power, orjson.dumps(POWER), b"k", 0, headers=headers)
    assert producer.flush(20) == 0
    with (
        open_windows(settings, WindowSettings(), "dc", "r2") as stream,
        pytest.raises(StreamGapError, match="record 0"),
    ):
        list(stream)
