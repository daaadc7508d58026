"""A position survives the lake: what is committed is what reading goes on with."""

from opendt.models.messages import OpenTask, SequenceMark, StreamPosition

POSITION = StreamPosition(
    cluster="abc",
    offsets={("dc.workload", 0): 17, ("dc.workload", 1): 0, ("dc.power", 3): 5},
    sequences={("r1", "dc.workload", 0): SequenceMark(16, 0xFFFFFFFF), ("r2", "dc.power", 3): SequenceMark(-1, 0)},
    early={("dc.workload", 0): (18, 21)},
    closed_until_ms=3_600_000,
    open_tasks={7: OpenTask(300, 120, 3_600_000, 9_000_000, 33.5, "dc.workload", 0, 3, 0, "task-7")},
)


def test_position_comes_back_from_json_unchanged():
    assert StreamPosition.from_json(POSITION.to_json()) == POSITION


def test_offsets_alone_are_nested_by_topic():
    assert POSITION.offsets_json() == '{"dc.power":{"3":5},"dc.workload":{"0":17,"1":0}}'


def test_next_sequences_are_those_of_the_replay_asked_for():
    assert POSITION.next_sequences("r1") == {("dc.workload", 0): 17}
    assert POSITION.next_sequences("r2") == {("dc.power", 3): 0}
    assert POSITION.next_sequences("unknown") == {}
