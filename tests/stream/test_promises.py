"""What a sender tells of its progress holds once as many records were read, and nobody can forge the future with it."""

from __future__ import annotations

import orjson
import pytest

from opendt.models.messages import PowerReading, SequenceMark, StreamPosition
from opendt.settings import WindowSettings
from opendt.stream.envelope import BadRecord
from opendt.stream.promises import Promises
from opendt.windows.buffer import Incoming
from opendt.windows.sequences import NOTHING
from opendt.windows.windower import Windower

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
HERE, QUIET = ("power", 0), ("power", 1)


def windower() -> Windower:
    """Two partitions; one reading was read from the first, three records of the replay from the second."""
    mark = {("r", *QUIET): SequenceMark(2, 0)}
    made = Windower([HERE, QUIET], [], WindowSettings(), "c", StreamPosition("c", {}, mark))
    made.add(Incoming(HERE, 0, "r", NOTHING, (PowerReading(START, 100.0),), b"{}"))
    return made


def told(time_ms: int, *counts: int) -> bytes:
    return orjson.dumps([time_ms, {"power": list(counts)}])


@pytest.mark.parametrize(("sent", "reached"), [(3, START + HOUR), (2, START + HOUR), (4, None)])
def test_a_promise_holds_when_all_that_was_sent_has_been_read(sent, reached):
    made = windower()
    promises = Promises(made, None)
    promises.note("r", told(START + HOUR, 0, sent))
    promises.keep()
    assert made.watermark.of(QUIET) == reached


def test_fragments_promise_no_more_than_the_longest_one_leaves_certain():
    made = windower()
    made.longest_row_ms = 60_000
    promises = Promises(made, "power")
    promises.note("r", told(START + HOUR, 0, 0))
    promises.keep()
    assert made.watermark.of(QUIET) == START + HOUR - 60_000


def test_a_promise_of_another_replay_waits_for_that_ones_records():
    made = windower()
    promises = Promises(made, None)
    promises.note("other", told(START + HOUR, 0, 1))
    promises.keep()
    assert made.watermark.of(QUIET) is None


def test_a_promise_from_the_far_future_is_not_believed():
    made = windower()
    promises = Promises(made, None)
    promises.note("r", told(START + 9_000 * HOUR, 0, 0))
    promises.keep()
    assert made.watermark.of(QUIET) is None


@pytest.mark.parametrize("value", [
    b"", b"{", b"7", b"[]", b"[1]", b'["x",{}]', b"[1,[]]", b'[-1,{"power":[1]}]', b'[1,{"power":1}]',
    b'[1,{"power":["1"]}]', b'[1,{"power":[-1]}]', b'[1,{"power":[99999999999999999999]}]', b'[true,{"power":[1]}]',
])  # fmt: skip
def test_a_header_that_cannot_be_read_is_refused(value):
    with pytest.raises(BadRecord, match="sent"):
        Promises(windower(), None).note("r", value)


def test_no_header_value_is_refused_too():
    with pytest.raises(BadRecord, match="sent"):
        Promises(windower(), None).note("r", None)
