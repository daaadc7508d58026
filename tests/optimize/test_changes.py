"""Paths into a topology: what they select, what they set, how they fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimize_builders import topology

from opendt.errors import InputError, TopologyError
from opendt.optimize.changes import apply_changes, canonical, differences, parse_change, parse_changes, value_at


@pytest.mark.parametrize(
    "path",
    [
        "clusters[0].hosts[1].count",
        "clusters[C01].hosts[H02].count",
        'clusters["C01"].hosts["H02"].count',
        "clusters[ 'C01' ].hosts[ H02 ].count",
    ],
)
def test_numbers_and_names_select_the_same_host_type(path):
    changed = apply_changes(topology(3, 4), {path: 9})
    assert [h.count for h in changed.clusters[0].hosts] == [3, 9]
    assert canonical(topology(3, 4), {path: 9}) == {"clusters[0].hosts[1].count": 9}


def test_a_star_selects_all():
    changed = apply_changes(topology(3, 4), {"clusters[*].hosts[*].cpu.coreSpeed": 1800})
    assert {h.cpu.coreSpeed for h in changed.clusters[0].hosts} == {1800}


def test_values_may_carry_units_and_structure():
    power = {"modelType": "mse", "idlePower": 25, "maxPower": 174, "calibrationFactor": 4}
    changed = apply_changes(
        topology(3), {"clusters[0].hosts[0].cpu.coreSpeed": "2.5 GHz", "clusters[0].hosts[0].cpuPowerModel": power}
    )
    host = changed.clusters[0].hosts[0]
    assert (host.cpu.coreSpeed, host.cpuPowerModel.modelType) == (2500.0, "mse")


def test_the_topology_given_stays_as_it_was():
    before = topology(3)
    apply_changes(before, {"clusters[0].hosts[0].count": 1})
    assert before == topology(3)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("clusters[1].hosts[0].count", "clusters[1] does not exist; there are 1, from 0"),
        ("clusters[-1].hosts[0].count", "clusters[-1] does not exist"),
        ("clusters[C02].hosts[0].count", "none of clusters is called 'C02'; there are C01"),
        ("clusters[0].hosts[0].counts", "no 'counts' in clusters[0].hosts[0]; there are name, count"),
        ("clusters[0].hosts.count", "say which of clusters[0].hosts"),
        ("clusters[0].hosts[0].gpu.count", "clusters[0].hosts[0].gpu is not set"),
        ("clusters[0].hosts[0].count.x", "holds no fields"),
        ("clusters[0].hosts[0].count[0]", "is not a list"),
        ("clusters[0].hosts[0]..count", "cannot be read from '.count' on"),
        ("clusters[0].hosts[0].", "cannot be read"),
        ("[0]", "cannot be read"),
        ("__class__", "no '__class__'"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_broke(path, message):
    with pytest.raises(TopologyError) as error:
        apply_changes(topology(3), {path: 1})
    assert message in error.value.message


@pytest.mark.parametrize("value", [0, -3, 1.5, "many", None])
def test_a_value_out_of_range_is_refused_with_its_field(value):
    with pytest.raises(TopologyError, match=r"clusters\.0\.hosts\.0\.count"):
        apply_changes(topology(3), {"clusters[0].hosts[0].count": value})


def test_a_name_used_twice_needs_a_number():
    twice = apply_changes(topology(3, 4), {"clusters[0].hosts[1].name": "H01"})
    with pytest.raises(TopologyError, match=r"2 of .* are called 'H01'; use their numbers"):
        apply_changes(twice, {"clusters[0].hosts[H01].count": 1})


def test_change_texts_are_read():
    assert parse_change(" clusters[0].hosts[0].count = 200 ") == ("clusters[0].hosts[0].count", 200)
    assert parse_change("a.b=2.1 GHz") == ("a.b", "2.1 GHz")


@pytest.mark.parametrize("text", ["count", "=3", "count=", " = "])
def test_a_change_without_path_or_value_is_refused(text):
    with pytest.raises(InputError, match="must be PATH=VALUE"):
        parse_change(text)


def test_a_path_given_twice_is_refused():
    with pytest.raises(InputError, match="given twice"):
        parse_changes(["a=1", "a=2"])


def test_value_at_reads_what_a_path_selects():
    assert value_at(topology(3, 4), "clusters[0].hosts[H02].count") == 4


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=4), speed=st.sampled_from([900, 1800.5, 3000]))
def test_applying_the_differences_gives_the_other_topology(counts, speed):
    before = topology(*[7] * len(counts))
    after = topology(*counts, speed=speed)
    assert apply_changes(before, differences(before, after)) == after
    assert differences(after, after) == {}
