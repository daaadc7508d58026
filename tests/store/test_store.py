"""Versions of topology and SLO, and decisions in the order they can happen."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from opendt.errors import ConfigError, InputError, TransientError
from opendt.lake import Lake
from opendt.models.topology import Topology, parse_topology
from opendt.settings import Settings, SloSettings, StoreSettings
from opendt.store import Store, copy_events


def topology(hosts: int) -> Topology:
    host = {"count": hosts, "cpu": {"coreCount": 4, "coreSpeed": 2_000}, "memory": {"memorySize": 4_096}}
    return parse_topology({"clusters": [{"hosts": [host]}]})


def test_nothing_is_active_at_first(store: Store) -> None:
    assert store.active_topology("dc") is None
    assert store.slo("dc") is None
    assert store.decisions() == []


def test_topology_set_last_is_active_and_the_others_are_history(store: Store) -> None:
    store.set_active_topology("dc", topology(1), source="trace", decided_by="twin", run_id="run-a")
    second = store.set_active_topology("dc", topology(2), source="api", decided_by="ann", reason="more hosts")
    store.set_active_topology("other", topology(3), source="api", decided_by="ann")

    assert store.active_topology("dc") == second
    assert second.topology == topology(2)
    assert second.version == topology(2).version
    history = store.topology_history("dc")
    assert [(a.topology.host_count, a.source, a.decided_by, a.activated_ms) for a in history] == [
        (2, "api", "ann", 1_001),
        (1, "trace", "twin", 1_000),
    ]
    assert [a.topology.host_count for a in store.topology_history("dc", limit=1, offset=1)] == [1]


def test_setting_the_active_topology_again_changes_nothing(store: Store) -> None:
    first = store.set_active_topology("dc", topology(1), source="trace", decided_by="twin")
    assert store.set_active_topology("dc", topology(1), source="api", decided_by="ann") == first
    assert len(store.topology_history("dc")) == 1


def test_rollback_puts_an_earlier_version_in_force_as_a_new_entry(store: Store) -> None:
    for hosts in (1, 2, 3):
        store.set_active_topology("dc", topology(hosts), source="api", decided_by="ann")

    assert store.rollback_topology("dc", decided_by="bob").topology == topology(2)
    back = store.rollback_topology("dc", topology(1).version, decided_by="bob", reason="as it was")
    assert (back.topology, back.source, back.reason) == (topology(1), "rollback", "as it was")
    assert [a.topology.host_count for a in store.topology_history("dc")] == [1, 2, 3, 2, 1]


@pytest.mark.parametrize("version", [None, "nonsense"])
def test_rollback_without_an_earlier_version_is_refused(store: Store, version: str | None) -> None:
    store.set_active_topology("dc", topology(1), source="api", decided_by="ann")
    with pytest.raises(InputError, match="earlier versions: none"):
        store.rollback_topology("dc", version, decided_by="bob")


def test_slo_versions_count_up_and_equal_targets_are_no_new_version(store: Store) -> None:
    first = store.set_slo("dc", SloSettings(energy_kwh=10), source="file")
    assert store.set_slo("dc", SloSettings(energy_kwh=10), source="api") == first
    second = store.set_slo("dc", SloSettings(energy_kwh=8, carbon_kg=2), source="api")

    assert (first.version, second.version) == (1, 2)
    assert store.slo("dc") == second
    assert store.slo("other") is None
    assert store.slo_history("dc") == [second, first]


def test_decisions_follow_each_other_in_order(store: Store) -> None:
    approved = store.decide("p-1", "dc", "approved", decided_by="ann", predicted_energy_kwh=5.0)
    applied = store.decide("p-1", "dc", "applied", decided_by="twin", topology_version="v2")
    other = store.decide("p-2", "dc2", "rejected", decided_by="bob", reason="too slow")

    assert store.decisions() == [other, applied, approved]
    assert store.decisions("dc") == [applied, approved]
    assert store.decisions(proposal_id="p-2") == [other]


@pytest.mark.parametrize(
    ("before", "then", "message"),
    [
        (["approved"], "approved", "has been approved already"),
        (["rejected"], "approved", "was rejected; it cannot be approved"),
        (["approved"], "rejected", "was approved; it cannot be rejected"),
        ([], "applied", "was never approved"),
        (["approved", "applied", "rolled-back"], "verified", "was rolled-back"),
    ],
)
def test_impossible_decisions_are_refused(store: Store, before: list, then: str, message: str) -> None:
    for decision in before:
        store.decide("p", "dc", decision, decided_by="ann")
    with pytest.raises(InputError, match=message):
        store.decide("p", "dc", then, decided_by="ann")  # type: ignore[arg-type]
    assert len(store.decisions()) == len(before)


def test_concurrent_approvals_leave_exactly_one(settings: Settings, store: Store) -> None:
    outcomes: list[str] = []

    def approve(name: str) -> None:
        with Store.open(settings) as own:
            try:
                own.decide("p", "dc", "approved", decided_by=name)
                outcomes.append("approved")
            except InputError:
                outcomes.append("refused")

    threads = [threading.Thread(target=approve, args=(f"person {n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["approved"] + ["refused"] * 5


def test_reading_a_missing_store_sees_it_empty_and_creates_nothing(settings: Settings) -> None:
    with Store.open(settings, read_only=True) as store:
        assert store.topology_history("dc") == []
        store.ping()
    assert not Path(settings.lake.path).exists()


def test_store_survives_closing(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.set_slo("dc", SloSettings(runtime_h=3), source="cli")
    with Store.open(settings, read_only=True) as store:
        found = store.slo("dc")
    assert found is not None
    assert found.slo.runtime_h == 3


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://host/x"])
def test_address_that_makes_no_sense_names_the_setting(settings: Settings, url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        Store.open(settings.model_copy(update={"store": StoreSettings(url=url)}))


def test_server_that_does_not_answer_is_transient_and_shows_no_password(settings: Settings) -> None:
    url = "postgresql+psycopg://ann:secret@127.0.0.1:9/none?connect_timeout=2"
    with pytest.raises(TransientError, match="does not answer") as caught:
        Store.open(settings.model_copy(update={"store": StoreSettings(url=url)}))
    assert "secret" not in str(caught.value)
    assert "secret" not in str(StoreSettings(url=url).model_dump(mode="json"))


def test_changes_are_copied_to_the_lake_once(settings: Settings, store: Store) -> None:
    store.set_active_topology("dc", topology(1), source="trace", decided_by="twin")
    store.set_active_topology("dc", topology(2), source="api", decided_by="ann")
    store.rollback_topology("dc", decided_by="ann")
    store.set_slo("dc", SloSettings(energy_kwh=10), source="api")
    store.decide("p", "dc", "rejected", decided_by="ann")

    with Lake.open(settings.lake) as lake:
        assert copy_events(store, lake) == 5
        assert copy_events(store, lake) == 0
        copied = lake.rows("SELECT version, source FROM topologies ORDER BY created_ms")
        assert copied == [
            {"version": topology(1).version, "source": "trace"},
            {"version": topology(2).version, "source": "api"},
            {"version": topology(1).version, "source": "rollback"},
        ]
        assert lake.rows("SELECT version, slo_json ->> '$.energy_kwh' AS kwh FROM slo_events") == [
            {"version": 1, "kwh": "10.0"}
        ]
        assert lake.rows("SELECT decision, decided_by FROM decisions") == [
            {"decision": "rejected", "decided_by": "ann"}
        ]
