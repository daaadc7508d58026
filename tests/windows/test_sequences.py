"""Sequence numbers: duplicates, gaps, ends that do not match."""

from __future__ import annotations

from zlib import crc32

import pytest

from opendt.errors import StreamGapError
from opendt.models.messages import EndOfStream, SequenceMark
from opendt.windows.sequences import Sequences, check_end

P = ("work", 2)


def test_the_first_number_is_zero_and_the_next_one_more():
    s = Sequences()
    assert [s.accept("r", P, n, b"x") for n in (0, 1, 2)] == [(-1, 0), (0, crc32(b"x")), (1, crc32(b"xx"))]
    assert s.mark("r", P) == (2, crc32(b"xxx"))


def test_numbers_seen_before_are_refused_without_a_trace():
    s = Sequences()
    s.accept("r", P, 0, b"a")
    assert s.accept("r", P, 0, b"b") is None
    assert s.mark("r", P) == (0, crc32(b"a"))


def test_replays_and_partitions_count_for_themselves():
    s = Sequences()
    marks = [s.accept(replay, where, 0, b"") for replay, where in (("r", P), ("q", P), ("r", ("work", 3)))]
    assert marks == [(-1, 0)] * 3


def test_a_skipped_number_names_topic_partition_and_both_numbers():
    s = Sequences({("r", "work", 2): SequenceMark(6, 0)})
    with pytest.raises(StreamGapError, match=r"work\[2\]: record 7 of replay r is missing, got 9") as caught:
        s.accept("r", P, 9, b"")
    assert caught.value.facts == {"topic": "work", "partition": 2, "expected": 7, "got": 9}


def test_an_end_must_agree_on_count_and_content():
    check_end("r", P, EndOfStream(0, 3, 17), (2, 17))
    with pytest.raises(StreamGapError, match="sent 4 records, 3 came"):
        check_end("r", P, EndOfStream(0, 4, 17), (2, 17))
    with pytest.raises(StreamGapError, match="not those that were sent"):
        check_end("r", P, EndOfStream(0, 3, 18), (2, 17))
