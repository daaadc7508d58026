"""Fragments that never come: the run goes on with a stand-in, counted and reported."""

from __future__ import annotations


def rows(batch) -> list[tuple[int, int, float]]:
    f = batch.workload.fragments
    return list(zip(f.task_id.tolist(), f.duration_ms.tolist(), f.cpu_usage_mhz.tolist(), strict=True))


def test_nothing_is_filled_in_when_everything_comes(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=3, duration_s=15))
    f(make.A, make.chunk(0, 1, first=0, count=2))
    f(make.A, make.chunk(10, 1, first=2, count=1))
    f.end(10)
    assert [len(b.workload.fragments) for b in f.batches] == [2, 1]
    assert [b.filled_fragments for b in f.batches] == [0, 0]


def test_a_hole_between_two_chunks_is_filled_with_what_the_task_last_asked_for(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=5, duration_s=9))
    f(make.A, make.chunk(0, 1, first=0, count=1, each_s=2, cpu=7.0))
    f(make.A, make.chunk(6, 1, first=3, count=2, each_s=1, cpu=9.0))
    f.end(9)
    assert rows(f.batches[0]) == [(1, 2000, 7.0), (1, 4000, 7.0), (1, 0, 7.0), (1, 1000, 9.0), (1, 1000, 9.0)]
    assert f.batches[0].filled_fragments == 2
    assert [(d.topic, d.partition, d.offset) for d in f.batches[0].dead] == [("work", 0, 0)]
    assert "task 1: fragments from number 1 of 5 did not come" in f.batches[0].dead[0].reason


def test_a_hole_over_a_windows_end_is_filled_window_by_window(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=6, duration_s=30))
    f(make.A, make.chunk(0, 1, first=0, count=1))
    f.beat(20)
    f(make.A, make.chunk(25, 1, first=5, count=1))
    f.end(29)
    assert rows(f.batches[0]) == [(1, 5000, 7.0), (1, 5000, 7.0)]
    assert rows(f.batches[1]) == [(1, 10_000, 7.0)]
    assert rows(f.batches[2]) == [(1, 5000, 7.0), (1, 0, 7.0), (1, 5000, 7.0)]
    assert [b.filled_fragments for b in f.batches] == [1, 1, 2]
    assert sum(len(b.dead) for b in f.batches) == 1  # reported once


def test_a_task_without_end_gets_all_it_promised_at_its_due_time(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=4, duration_s=8))
    f(make.A, make.chunk(0, 1, first=0, count=1))
    f.end(9)
    assert rows(f.batches[0]) == [(1, 5000, 7.0), (1, 3000, 7.0), (1, 0, 7.0), (1, 0, 7.0)]
    assert f.batches[0].position.open_tasks == {}


def test_a_task_whose_end_is_far_ends_with_the_stream(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=100, duration_s=500))
    f.end(9)
    durations = f.batches[0].workload.fragments.duration_ms
    assert (len(durations), int(durations.sum())) == (100, 10_000)


def test_fragments_of_an_unknown_task_are_dead_letters(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=0))
    offset = f(make.A, make.chunk(1, 2), b"orphan")
    f.end(9)
    (dead,) = f.batches[0].dead
    assert (dead.offset, dead.payload, dead.payload_bytes) == (offset, b"orphan", 6)
    assert "not announced" in dead.reason


def test_more_fragments_than_promised_are_dead_letters(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=2, duration_s=10))
    f(make.A, make.chunk(0, 1, first=0, count=1))
    f(make.A, make.chunk(5, 1, first=1, count=5))
    f.end(9)
    assert "beyond the 2" in f.batches[0].dead[0].reason
    assert len(f.batches[0].workload.fragments) == 2
    assert f.batches[0].filled_fragments == 1


def test_open_tasks_survive_a_restart(feed, make):
    f = feed()
    f(make.A, make.head(0, 1, fragments=3, duration_s=15))
    f(make.A, make.chunk(0, 1, first=0, count=2))
    f.beat(10)
    g = feed(position=f.batches[0].position, first_index=1)
    g(make.A, make.chunk(10, 1, first=2, count=1))
    g.end(10)
    assert rows(g.batches[0]) == [(1, 5000, 7.0)]
    assert g.batches[0].filled_fragments == 0
