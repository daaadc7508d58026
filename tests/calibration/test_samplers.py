"""Promises of every sampler (``opendt/calibration/samplers/base.py``). A new sampler is one more parameter."""

import pytest

from opendt.calibration.samplers import make_sampler
from opendt.calibration.space import Choice, Real, Space, parse_space
from opendt.errors import ConfigError

NAMES = ["grid", "random", "bayesian"]
SPACE = Space((Real("a", 0.5, 4.0), Real("b", 1.0, 100.0, log=True), Choice("kind", ("linear", "mse"))))


def bowl(p) -> float:
    return (p["a"] - 2) ** 2 + abs(p["b"] - 10) / 50 + (p["kind"] == "linear")


def drive(sampler, budget, batch=4, score=bowl):
    told = []
    while len(told) < budget:
        asked = sampler.ask(min(batch, budget - len(told)))
        if not asked:
            break
        for parameters in asked:
            sampler.tell(parameters, score(parameters))
            told.append(parameters)
    return told


@pytest.fixture(params=NAMES)
def sampler(request):
    return make_sampler(request.param, SPACE, seed=3, points=4)


def test_asked_points_lie_within_the_space(sampler):
    for parameters in drive(sampler, 13):
        SPACE.check(parameters)


def test_parallel_asks_differ(sampler):
    asked = sampler.ask(5) + sampler.ask(5)
    assert len({tuple(p.items()) for p in asked}) == 10


def test_no_more_than_asked_for(sampler):
    assert len(sampler.ask(3)) == 3


def test_results_may_come_in_any_order(sampler):
    asked = sampler.ask(6)
    for parameters in reversed(asked):
        sampler.tell(parameters, bowl(parameters))
    assert sampler.best.score == min(bowl(p) for p in asked)


def test_failed_trials_never_win(sampler):
    first, second, third = sampler.ask(3)
    sampler.tell(first, None)
    sampler.tell(second, float("nan"))
    assert sampler.best is None
    sampler.tell(third, 7.0)
    assert sampler.best.score == 7.0
    assert sampler.best.parameters == third
    assert len(sampler.ask(2)) == 2


def test_first_of_equals_is_best(sampler):
    first, second = sampler.ask(2)
    sampler.tell(first, 1.0)
    sampler.tell(second, 1.0)
    assert sampler.best.parameters == first


def test_points_outside_the_space_are_refused(sampler):
    with pytest.raises(ConfigError, match="outside"):
        sampler.tell({"a": 99.0, "b": 2.0, "kind": "mse"}, 1.0)
    with pytest.raises(ConfigError, match="do not match"):
        sampler.tell({"a": 1.0}, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_points(name):
    runs = [drive(make_sampler(name, SPACE, seed=5, points=3), 12) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", ["random", "bayesian"])
def test_another_seed_gives_other_points(name):
    assert make_sampler(name, SPACE, seed=1).ask(3) != make_sampler(name, SPACE, seed=2).ask(3)


def test_grid_is_complete_and_ends():
    grid = make_sampler("grid", SPACE, points=3)
    points = drive(grid, 1_000)
    assert len(points) == 3 * 3 * 2
    assert grid.ask(1) == []
    assert sorted({round(p["b"], 6) for p in points}) == [1.0, 10.0, 100.0]


def test_bayesian_search_beats_random_at_equal_budget():
    found = {}
    for name in ("random", "bayesian"):
        samplers = [make_sampler(name, SPACE, seed=seed) for seed in range(2)]
        for sampler in samplers:
            drive(sampler, 26)
        found[name] = sum(sampler.best.score for sampler in samplers)
    assert found["bayesian"] < 0.5 * found["random"]


def test_unknown_sampler_is_named():
    with pytest.raises(ConfigError, match="'tpe' is unknown"):
        make_sampler("tpe", SPACE)


def test_spaces_come_from_settings():
    space = parse_space({"x.y": [1, 2], "z": {"low": 1, "high": 10, "log": True}, "k": {"values": ["a", "b"]}})
    assert space.dimensions == (Real("x.y", 1.0, 2.0), Real("z", 1.0, 10.0, True), Choice("k", ("a", "b")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([2, 1], "not a range"),
        ({"low": 0, "high": 1, "log": True}, "above 0"),
        ("x", "give"),
        ({"values": []}, "one or"),
    ],
)
def test_impossible_dimensions_are_refused(value, message):
    with pytest.raises(ConfigError, match=message):
        parse_space({"p": value})


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match="one or more"):
        parse_space({})
