"""Windows by event time: what belongs where, when one closes, what is late."""

from __future__ import annotations

from opendt.models.messages import Heartbeat, TopologyChange
from opendt.models.topology import parse_topology

HOST = {"cpu": {"coreCount": 4, "coreSpeed": 2100}, "memory": {"memorySize": 1000}}
TOPOLOGY = parse_topology({"clusters": [{"hosts": [HOST]}]})
OTHER = parse_topology({"clusters": [{"hosts": [HOST, HOST]}]})


def tasks(batch) -> list[int]:
    return batch.workload.tasks.task_id.tolist()


def test_a_record_at_a_windows_end_belongs_to_the_next(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f(make.A, make.head(10, 2))
    f.end(10)
    assert [(b.start_ms, b.end_ms, tasks(b)) for b in f.batches] == [(0, 10_000, [1]), (10_000, 20_000, [2])]


def test_a_window_stays_open_until_every_partition_has_passed_it(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f(make.A, make.head(25, 2))
    f(make.B, make.head(25, 3))
    assert f.batches == []
    f(make.POWER, make.power(9))
    assert f.batches == []
    f(make.POWER, make.power(10))
    assert [tasks(b) for b in f.batches] == [[1]]


def test_heartbeats_close_windows_and_empty_ones_are_handed_out(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f.beat(40)
    assert [(b.index, b.start_ms, tasks(b), b.last) for b in f.batches] == [
        (0, 0, [1], False), (1, 10_000, [], False), (2, 20_000, [], False), (3, 30_000, [], False),
    ]  # fmt: skip


def test_heartbeats_alone_open_no_window(feed):
    f = feed()
    f.beat(5)
    f.beat(500)
    f.end(500)
    assert f.batches == []
    assert f.windower.finished


def test_the_first_window_waits_for_what_other_partitions_may_still_bring(feed, make):
    f = feed()
    f(make.A, make.head(35, 1))
    f(make.B, make.head(12, 2))
    f.beat(50)
    assert [b.start_ms for b in f.batches] == [10_000, 20_000, 30_000, 40_000]


def test_the_end_closes_everything_and_the_last_window_says_so(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f(make.POWER, make.power(27))
    f.end(27)
    assert [(b.start_ms, b.last) for b in f.batches] == [(0, False), (10_000, False), (20_000, True)]
    assert f.batches[-1].position.ended


def test_an_end_that_comes_after_the_last_window_closed_is_a_window_of_its_own(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f.beat(10)
    f.end(10)
    assert [(b.start_ms, tasks(b), b.last) for b in f.batches] == [(0, [1], False), (10_000, [], True)]


def test_equal_submission_times_keep_the_order_of_the_source(feed, make):
    f = feed()
    f(make.B, make.head(3, 30, order=2))
    f(make.A, make.head(3, 10, order=1))
    f(make.A, make.head(3, 20, order=3))
    f(make.B, make.head(2, 99, order=9))
    f.end(3)
    assert tasks(f.batches[0]) == [99, 10, 30, 20]


def test_a_late_record_is_dropped_and_kept_with_its_place(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f.beat(10)
    offset = f(make.B, make.head(4, 2), b"bytes of the late one")
    f.end(11)
    late = f.batches[1].late
    assert [(r.topic, r.partition, r.offset, r.event_ms, r.kind, r.policy, r.payload) for r in late] == [
        ("work", 1, offset, 4000, "task", "drop", b"bytes of the late one")
    ]
    assert tasks(f.batches[1]) == []


def test_a_late_record_is_handed_out_with_the_next_window_when_reopened(feed, make):
    f = feed(late_policy="reopen")
    f(make.A, make.head(3, 1))
    f.beat(10)
    f(make.B, make.head(4, 2))
    f(make.POWER, make.power(9, 5.0))
    f.end(11)
    batch = f.batches[1]
    assert [(r.kind, r.policy) for r in batch.late] == [("task", "reopen"), ("power", "reopen")]
    assert batch.workload.tasks.submission_ms.tolist() == [10_000]
    assert batch.power.timestamp_ms.tolist() == [9_000]


def test_allowed_lateness_keeps_a_window_open_longer(feed, make):
    f = feed(allowed_lateness_s=5)
    f(make.A, make.head(3, 1))
    f.beat(14)
    assert f.batches == []
    f(make.B, make.head(4, 2))
    f.beat(15)
    assert [(tasks(b), b.late) for b in f.batches] == [([1, 2], [])]


def test_a_topology_takes_its_window_or_the_one_now_open(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f(make.TOPOLOGY, TopologyChange(15_000, TOPOLOGY, "test"))
    f.beat(10)
    f(make.TOPOLOGY, TopologyChange(None, OTHER, "test"))  # now: window 1 is open, and this came after
    f(make.A, make.head(22, 2))
    f.beat(30)
    f(make.TOPOLOGY, TopologyChange(1_000, TOPOLOGY, "test"))  # its window has closed
    f.end(31)
    assert [b.topology for b in f.batches] == [None, OTHER, None, TOPOLOGY]


def test_of_several_topologies_in_a_window_the_latest_counts(feed, make):
    f = feed()
    f(make.A, make.head(3, 1))
    f(make.TOPOLOGY, TopologyChange(9_000, OTHER, "test"))
    f(make.TOPOLOGY, TopologyChange(4_000, TOPOLOGY, "test"))
    f.end(9)
    assert [b.topology for b in f.batches] == [OTHER]


def test_power_is_ordered_by_time(feed, make):
    f = feed()
    f(make.POWER, make.power(5, 50.0))
    f(make.POWER, make.power(2, 20.0))
    f.end(9)
    assert f.batches[0].power.timestamp_ms.tolist() == [2_000, 5_000]
    assert f.batches[0].power.power_w.tolist() == [20.0, 50.0]


def test_a_time_absurdly_far_ahead_is_a_dead_letter_and_closes_nothing(feed, make):
    f = feed(longest_jump_h=1)
    f(make.A, make.head(3, 1))
    for where in (make.A, make.B, make.POWER):
        f(where, Heartbeat(9_000_000_000), b"clock gone wrong")
    assert f.batches == []
    f(make.A, make.head(3_603, 2))
    f.end(3_603)
    assert [letter.payload for letter in f.batches[0].dead] == [b"clock gone wrong"] * 3
    assert "h after the newest record" in f.batches[0].dead[0].reason
    assert [task for b in f.batches for task in tasks(b)] == [1, 2]


def test_one_absurdly_early_record_does_not_open_windows_without_end(feed, make):
    f = feed(longest_jump_h=1)
    f(make.A, make.head(3, 1), b"1970")
    f.windower._newest_ms = 10_000_000  # what another partition brought at the same time
    f(make.B, make.head(10_001, 2))
    f(make.B, make.head(10_002, 3))
    f.beat(10_020)
    assert [b.start_ms for b in f.batches] == [10_000_000, 10_010_000]
    assert [letter.payload for letter in f.batches[0].dead] == [b"1970"]
