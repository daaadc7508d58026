"""Fragments read together must be what they are when read one by one, and what is refused there is refused here."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opendt.models.messages import FragmentRow
from opendt.settings import StreamSettings
from opendt.stream.envelope import EMPTY, BadRecord
from opendt.stream.layouts.opendt_v0 import V0Decoder

TOPIC = StreamSettings().topics.v0_fragments
KEYS = [b'{"id": 1}', b'{"id": 2}']
GOOD = {"duration": 30000, "cpu_usage": 1200.5, "submission_time": "2022-10-06T22:00:30"}


def text(**changed: object) -> bytes:
    return json.dumps({**GOOD, **changed}).encode()


ODD = [
    b"", b" ", b"{}", b"[]", b"{", b"null", b'"x"', b"\xff{", text() + b"x", text() + b"\n" + text(),
    text() + b" " + text(),
    text(duration=1.5), text(duration="30000"), text(duration=True), text(duration=-1), text(duration=2**62),
    text(duration=2**70), text(duration=None), text(cpu_usage=None), text(cpu_usage="5"), text(cpu_usage=-1.0),
    text(cpu_usage=float("nan")), text(cpu_usage=1e300), text(cpu_usage=[1]), text(submission_time=None),
    text(submission_time="yesterday"), text(submission_time="1969-12-31T00:00:00"), text(submission_time="1970-01-01"),
    text(submission_time={"a": 1}), b'{"duration":30000}', text()[:-1], text(submission_time="2022-13-06T22:00:30"),
]  # fmt: skip
UNUSUAL = [
    b"\n" + text(), text(cpu_usage=7), text(cpu_usage=1e-7), text(duration=0), text(more=1),
    text(submission_time="2022-10-06T22:00:30.25"),
]  # fmt: skip

values = st.one_of(
    st.builds(
        lambda duration, usage, second: text(
            duration=duration, cpu_usage=usage, submission_time=f"2022-10-06T22:00:{second:02d}"
        ),
        st.integers(0, 10**7),
        st.floats(0, 1e6),
        st.integers(0, 59),
    ),
    st.sampled_from(ODD + UNUSUAL),
)


@pytest.fixture(scope="module")
def decoder() -> V0Decoder:
    made = V0Decoder(StreamSettings(layout="opendt-v0"))
    for key in KEYS:
        made(TOPIC, key, text(), EMPTY)
    return made


@given(st.lists(st.tuples(st.sampled_from(KEYS), values), min_size=1, max_size=6))
@example([(KEYS[0], text() + b"\n" + text()), (KEYS[0], b"")])
@example([(KEYS[0], text() + text()), (KEYS[0], b" ")])
def test_together_is_as_one_by_one(decoder, messages):
    together = decoder.rows([key for key, _ in messages], [value for _, value in messages])
    if together is not None:
        singly = [decoder(TOPIC, key, value, EMPTY)[0] for key, value in messages]  # raises for what must be refused
        assert [FragmentRow(*row) for row in zip(*together, strict=True)] == singly


@pytest.mark.parametrize("value", ODD)
def test_what_is_odd_is_left_to_the_careful_way(decoder, value):
    assert decoder.rows([KEYS[0], KEYS[1]], [text(), value]) is None
    with pytest.raises(BadRecord):
        decoder(TOPIC, KEYS[0], value, EMPTY)


def test_the_usual_is_read_together(decoder):
    assert decoder.rows(KEYS, [text(), text(cpu_usage=7)]) == (
        [1665093600000, 1665093600000], [1, 2], [30000, 30000], [1200.5, 7.0],
    )  # fmt: skip


def test_a_task_never_heard_of_is_left_to_the_careful_way(decoder):
    assert decoder.rows([b'{"id": 99}'], [text()]) is None
