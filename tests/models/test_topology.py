"""Topologies at the door: OpenDC's files are ours, and nonsense is refused with its field path."""

from __future__ import annotations

import orjson
import pytest

from opendt.errors import TopologyError
from opendt.models.topology import load_topology, parse_topology

HOST = {"cpu": {"coreCount": 4, "coreSpeed": 1000}, "memory": {"memorySize": 1024}}


def topology(**host):
    return {"clusters": [{"hosts": [HOST | host]}]}


def test_a_minimal_topology_gets_opendcs_defaults():
    parsed = parse_topology(topology())
    host = parsed.clusters[0].hosts[0]
    assert (parsed.clusters[0].name, host.name, host.count) == ("Cluster", "Host", 1)
    assert (host.cpuPowerModel.modelType, host.cpuPowerModel.idlePower) == ("linear", 200)
    assert host.capacity_mhz == 4000


@pytest.mark.parametrize(("text", "mhz"), [("2.1 GHz", 2100), ("2100MHz", 2100), ("2100000 KHz", 2100), (2100, 2100)])
def test_frequencies_may_carry_units(text, mhz):
    parsed = parse_topology(topology(cpu={"coreCount": 1, "coreSpeed": text}))
    assert parsed.clusters[0].hosts[0].cpu.coreSpeed == pytest.approx(mhz)


@pytest.mark.parametrize(("text", "mib"), [("128 GB", 122070), ("1 TB", 953674), ("2 GiB", 2048), (100.7, 100)])
def test_memory_may_carry_units(text, mib):
    parsed = parse_topology(topology(memory={"memorySize": text}))
    assert int(parsed.clusters[0].hosts[0].memory.memorySize) == mib


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (topology(count=0), r"clusters\.0\.hosts\.0\.count"),
        (topology(cpu={"coreCount": 4}), r"clusters\.0\.hosts\.0\.cpu\.coreSpeed"),
        (topology(speed=1), r"clusters\.0\.hosts\.0\.speed"),
        (topology(cpu={"coreCount": 4, "coreSpeed": "fast"}), "not a number with one of the units"),
        (topology(cpuPowerModel={"modelType": "mse", "maxPower": 10, "idlePower": 20}), "below idlePower"),
        (topology(cpuPowerModel={"modelType": "asymptotic"}), "asymUtil"),
        (topology(cpuPowerModel={"modelType": "piecewise", "levels": [3, 2]}), "must not decrease"),
        (topology(cpuPowerModel={"modelType": "warp"}), "modelType"),
        (topology(cpu={"coreCount": 4, "coreSpeed": float("nan")}), "coreSpeed"),
        ([], "root"),
    ],
)
def test_nonsense_is_refused_with_its_field_path(data, path):
    with pytest.raises(TopologyError, match=path) as caught:
        parse_topology(data)
    assert caught.value.exit_code == 2


def test_json_round_trip_keeps_the_topology(tmp_path):
    first = parse_topology(topology(cpuPowerModel={"modelType": "mse", "maxPower": 174, "idlePower": 25}))
    file = tmp_path / "t.json"
    file.write_bytes(first.to_json())
    assert load_topology(file) == first


def test_counts_are_summed_over_clusters():
    parsed = parse_topology({"clusters": [{"hosts": [HOST | {"count": 3}, HOST]}, {"hosts": [HOST]}]})
    assert (parsed.host_count, parsed.core_count) == (5, 20)


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    with pytest.raises(TopologyError, match=r"broken\.json: cannot be read as JSON"):
        load_topology(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TopologyError, match="no such file"):
        load_topology(tmp_path / "none.json")


def test_exported_json_uses_opendcs_names():
    data = orjson.loads(parse_topology(topology(count=2)).to_json())
    assert data["clusters"][0]["hosts"][0]["cpu"] == {"coreCount": 4, "coreSpeed": 1000.0}


def test_version_names_the_content_not_the_spelling():
    plain, spelled = topology(count=1), topology(cpu={"coreCount": 4, "coreSpeed": "1 GHz"})
    assert parse_topology(plain).version == parse_topology(spelled).version
    assert parse_topology(plain).version != parse_topology(topology(count=2)).version
