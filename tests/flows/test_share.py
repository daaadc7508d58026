"""One of several twins: what it does with the datacenters it is given, without Kafka or lake."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from flows import share
from flows.parameters import TwinParameters
from flows.share import Worker
from opendt.errors import BrokerUnavailableError, StreamGapError
from opendt.settings import Settings

FOREVER = "forever"


class World:
    """A lake's run states, and what each datacenter's stream gives: how many windows, or how it ends."""

    def __init__(self, **streams) -> None:
        self.streams, self.states, self.sessions = streams, {}, []
        self.leases: FakeLeases | None = None

    def rows(self, sql, params):
        return [{"datacenter": name, "state": state, "ended_ms": 2**62} for name, state in self.states.items()]

    @contextmanager
    def open_session(self, settings, run_id, *, topology, kind):
        name = settings.datacenter
        session = SimpleNamespace(
            name=name, next_index=0, position=None, settings=settings, drifts=[],
            hand_over=lambda: self.states.update({name: "handed over"}),
            fail=lambda reason, state: self.states.update({name: state}),
        )  # fmt: skip
        self.sessions.append(name)
        self.states[name] = "running"
        try:
            yield session
        except BaseException:
            self.states[name] = "failed"
            raise

    def follow(self, session, source, progress, settings, *, halt, label):
        assert label == f"fleet {session.name}", "which datacenter a task run is of"
        stream = self.streams[session.name]
        if isinstance(stream, Exception):
            raise stream
        if stream == FOREVER:
            assert halt.wait(30)
        else:
            session.position = SimpleNamespace(ended=True)

    def finish_run(self, session, proposals, run_id):
        self.states[session.name] = "completed"
        return SimpleNamespace(datacenter=session.name)


class FakeLeases:
    """Gives everything at the first look, and does what a test tells it afterwards."""

    def __init__(self, settings, group, names, *, on_gained, on_given_up, on_lost) -> None:
        self.names, self.gained, self.given_up = names, on_gained, on_given_up
        self.script = [lambda: on_gained(list(names))]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.given_up(list(self.names))

    def serve(self, timeout_s):
        if self.script:
            self.script.pop(0)()


@pytest.fixture
def worker(monkeypatch):
    """A worker in a world of its own, with more for the leases to do."""

    def make(world: World, *script) -> Worker:
        class Leases(FakeLeases):
            def __init__(self, *arguments, **more) -> None:
                super().__init__(*arguments, **more)
                self.script += [lambda step=step: step(self) for step in script]

        monkeypatch.setattr(share, "Leases", Leases)
        monkeypatch.setattr(share, "_LOOK_EVERY_S", 0.0)
        monkeypatch.setattr(share, "settle", lambda *_: [])
        for name in ("open_session", "follow", "finish_run"):
            monkeypatch.setattr(share, name, getattr(world, name))
        return Worker(Settings(), world, "fleet", dict.fromkeys(world.streams))

    return make


def test_a_worker_ends_with_the_totals_of_what_ended_with_it(worker):
    world = World(north=3, south=2)
    assert {s.datacenter for s in worker(world).run(threading.Event())} == {"north", "south"}
    assert world.states == {"north": "completed", "south": "completed"}


def test_what_is_completed_already_is_not_followed_again(worker):
    world = World(north=3, south=2)
    world.states["north"] = "completed"
    worker(world).run(threading.Event())
    assert world.sessions == ["south"]


def test_a_datacenter_given_up_is_handed_over_and_the_others_go_on(worker):
    world = World(north=FOREVER, south=FOREVER)
    stop = threading.Event()
    seen = []

    def give_up(leases):
        leases.given_up(["north"])
        seen.append(dict(world.states))
        stop.set()

    worker(world, give_up).run(stop)
    assert seen == [{"north": "handed over", "south": "running"}]
    assert world.states["south"] == "cancelled", "stopped by its user"


def test_a_gap_in_one_stream_is_raised_after_the_others_have_ended(worker):
    world = World(north=StreamGapError("records are missing"), south=2)
    with pytest.raises(StreamGapError):
        worker(world).run(threading.Event())
    assert world.states == {"north": "failed", "south": "completed"}


def test_a_passing_fault_hands_the_others_over_at_once(worker):
    world = World(north=BrokerUnavailableError("gone"), south=FOREVER)
    with pytest.raises(BrokerUnavailableError):
        worker(world).run(threading.Event())
    assert world.states["south"] == "handed over"


def test_a_fault_of_our_own_is_not_swallowed(worker):
    with pytest.raises(ZeroDivisionError):
        worker(World(north=ZeroDivisionError(), south=FOREVER)).run(threading.Event())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"share": {"north": "n.json"}}, "need a run id"),
        ({"share": {"north": ""}, "run_id": "r"}, "north has no topology file"),
        ({"share": {"no/rth": "n.json"}, "run_id": "r"}, "is no datacenter"),
        ({"share": {"north": "n.json"}, "run_id": "r", "max_windows": 3}, "are for a single twin"),
    ],
)
def test_a_share_that_cannot_work_is_refused(given, why):
    with pytest.raises(ValidationError, match=why):
        TwinParameters(**given)


def test_one_topology_may_serve_all():
    assert TwinParameters(share={"north": ""}, topology="t.json", run_id="r").share == {"north": ""}
