"""Going on from a committed position gives what an undisturbed reader gets, whatever the disorder."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opendt.models.messages import EndOfStream, Heartbeat, PowerReading, StreamPosition
from opendt.settings import WindowSettings
from opendt.windows.buffer import Incoming
from opendt.windows.windower import Windower

P = [("power", 0), ("power", 1)]


def windower(position=None, first_index=0, policy="drop"):
    return Windower(P, [], WindowSettings(length_s=10, late_policy=policy), "c", position, first_index)


def run(logs, seed, position=None, first_index=0, policy="drop"):
    """Read two partition logs in a random interleaving, each in order of offset from where the position says."""
    w = windower(position, first_index, policy)
    at = {where: position.offsets[where] if position else 0 for where in P}
    order = random.Random(seed)
    batches = []
    while not w.finished:
        left = [where for where in P if at[where] < len(logs[where])]
        if left:
            where = order.choice(left)
            offset = at[where]
            at[where] += 1
            w.ledger.read(where, offset)
            if not w.ledger.is_early(where, offset):
                w.add(Incoming(where, offset, None, (-1, 0), (logs[where][offset],), b""))
        while (batch := w.next_batch()) is not None:
            batches.append(batch)
        assert left or w.finished
    return batches


def readings(batches):
    return [sorted(zip(b.power.timestamp_ms.tolist(), b.power.power_w.tolist(), strict=True)) for b in batches]


times = st.lists(st.integers(0, 80_000), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(times, times, st.integers(0, 99), st.integers(0, 99), st.sampled_from(["drop", "reopen"]), st.data())
def test_every_record_is_handed_out_or_late_once_across_a_restart(a, b, seed, other_seed, policy, data):
    logs = {}
    for where, ts in zip(P, (a, b), strict=True):
        numbered = [PowerReading(t, float(n)) for n, t in enumerate(ts)]
        logs[where] = [*numbered, EndOfStream(max(ts), 0, 0)]
    whole = run(logs, seed, policy=policy)
    cut = data.draw(st.integers(0, len(whole) - 1))
    committed = whole[: cut + 1]
    position = StreamPosition.from_json(committed[-1].position.to_json())
    rest = run(logs, other_seed, position, cut + 1, policy)
    everything = committed + rest
    assert [x.index for x in everything] == list(range(len(everything)))
    got = [row for batch in readings(everything) for row in batch]
    late = [(r.partition, r.offset) for batch in everything for r in batch.late]
    assert len(late) == len(set(late))
    sent = [(r.time_ms, r.power_w) for log in logs.values() for r in log[:-1]]
    if policy == "reopen":
        assert sorted(got) == sorted(sent)
    else:
        assert sorted(got + [(logs["power", p][o].time_ms, logs["power", p][o].power_w) for p, o in late]) == sorted(
            sent
        )


@pytest.mark.parametrize("seed", range(5))
def test_ordered_partitions_give_the_same_windows_in_any_interleaving(seed):
    logs = {}
    for number, where in enumerate(P):
        rng = random.Random(number)
        ts = sorted(rng.randrange(100_000) for _ in range(50))
        logs[where] = [*(PowerReading(t, float(t)) for t in ts), Heartbeat(100_000), EndOfStream(100_000, 0, 0)]
    assert readings(run(logs, seed)) == readings(run(logs, 1234))
