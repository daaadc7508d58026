"""Decisions: the order of states, publishing, rollback, expiry, the automatic policy, realised effects."""

import orjson
import pytest
from optimize_builders import outcome, topology

from opendt.errors import InputError
from opendt.lake import Lake
from opendt.models.topology import Topology
from opendt.optimize import decisions
from opendt.optimize.auto import auto_approve
from opendt.optimize.proposal import compare, no_op, propose, to_rows
from opendt.optimize.realised import follow_up
from opendt.settings import SloSettings, load_settings
from opendt.store import Store

BASE = topology(10)
NOW = 1_700_000_000_000


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    settings = load_settings(None, {"lake.path": tmp_path_factory.mktemp("lake")}, {})
    with Lake.open(settings.lake) as opened:
        yield opened


@pytest.fixture
def desk(lake, tmp_path, request):
    """A desk for a datacenter of its own; published topologies go to ``desk.sent``."""
    name = f"dc{abs(hash(request.node.nodeid)) % 10**9}"
    overrides = {"lake.path": lake.settings.path, "datacenter": name, "store.url": f"sqlite:///{tmp_path}/store.db"}
    settings = load_settings(None, overrides | getattr(request, "param", {}), {})
    sent: list[Topology] = []

    def publish(published: Topology) -> bool:
        sent.append(published)
        return True

    with Store.open(settings, clock_ms=Clock()) as store:
        made = decisions.Desk(settings, store, lake, publish)
        _topology_row(made, BASE)
        yield made, sent


def _topology_row(desk, world):
    desk.lake.upsert("topologies", [{"datacenter": desk.datacenter, "version": world.version, "source": "trace",
                                     "topology_json": world.to_json().decode(), "created_ms": NOW}])  # fmt: skip


def _store(desk, *hosts, energy=80.0, slo=None, run_id="r1", created_ms=NOW, base=BASE):
    """Rows of proposals for these host counts, and a no-op."""
    slo = slo or SloSettings(energy_kwh=90)
    made = [
        propose("bayesian", base, {"clusters[0].hosts[0].count": n}, ("test",),
                evaluation=compare(outcome(100), outcome(energy), slo))
        for n in hosts
    ]  # fmt: skip
    rows = to_rows([*made, no_op(base).but(evaluation=compare(outcome(100), outcome(100), slo))],
                   run_id=run_id, datacenter=desk.datacenter, window_index=5, created_ms=created_ms)  # fmt: skip
    desk.lake.upsert("proposals", rows)
    return rows


def _state(desk, row):
    return decisions.get_proposal(desk.lake, desk.datacenter, row["proposal_id"])["state"]


def test_approval_is_recorded_puts_the_topology_in_force_and_publishes_it(desk):
    desk, sent = desk
    row = _store(desk, 8)[0]
    found = decisions.approve(desk, row["proposal_id"], decided_by="ada", reason="cheaper")
    assert found.published
    assert sent == [topology(8)]
    assert desk.store.active_topology(desk.datacenter).topology == topology(8)
    assert _state(desk, row) == "approved"
    event = desk.lake.rows("SELECT * FROM decisions WHERE proposal_id = ?", [row["proposal_id"]])[0]
    assert (event["decision"], event["decided_by"], event["predicted_energy_kwh"]) == ("approved", "ada", 80.0)
    assert event["topology_version"] == topology(8).version


def test_rollback_restores_exactly_what_was_in_force(desk):
    desk, sent = desk
    row = _store(desk, 8)[0]
    decisions.approve(desk, row["proposal_id"], decided_by="ada")
    found = decisions.rollback(desk, decided_by="bob", reason="queues")
    assert found.active.topology == BASE
    assert sent[-1].to_json() == BASE.to_json()
    assert _state(desk, row) == "rolled-back"
    assert [a.source for a in desk.store.topology_history(desk.datacenter)] == ["rollback", "proposal", "trace"]


def test_decisions_survive_a_restart(desk):
    desk, _ = desk
    decisions.approve(desk, _store(desk, 8)[0]["proposal_id"], decided_by="ada")
    with Store.open(desk.settings) as again:
        assert again.active_topology(desk.datacenter).topology == topology(8)
        assert [d.decision for d in again.decisions(desk.datacenter)] == ["approved"]


def test_a_rejected_proposal_cannot_be_approved(desk):
    desk, sent = desk
    row = _store(desk, 8)[0]
    decisions.reject(desk, row["proposal_id"], decided_by="ada", reason="no")
    with pytest.raises(InputError, match="was rejected"):
        decisions.approve(desk, row["proposal_id"], decided_by="ada")
    assert (_state(desk, row), sent) == ("rejected", [])


def test_nothing_is_approved_twice(desk):
    desk, sent = desk
    row = _store(desk, 8)[0]
    decisions.approve(desk, row["proposal_id"], decided_by="ada")
    with pytest.raises(InputError, match="approved already"):
        decisions.approve(desk, row["proposal_id"], decided_by="ada", force=True)
    assert len(sent) == 1


def test_a_proposal_about_a_topology_no_longer_in_force_needs_force(desk):
    desk, _ = desk
    first, second, _ = _store(desk, 8, 7)
    decisions.approve(desk, first["proposal_id"], decided_by="ada")
    with pytest.raises(InputError, match="is in force now"):
        decisions.approve(desk, second["proposal_id"], decided_by="ada")
    decisions.approve(desk, second["proposal_id"], decided_by="ada", force=True)
    assert desk.store.active_topology(desk.datacenter).topology == topology(7)


def test_an_unknown_proposal_says_where_to_look(desk):
    with pytest.raises(InputError, match="opendt proposals"):
        decisions.approve(desk[0], "p-none", decided_by="ada")


def test_an_approval_that_could_not_be_published_is_published_later(desk):
    desk, sent = desk
    row = _store(desk, 8)[0]

    def fail(world):
        raise ConnectionError("broker away")

    broken = decisions.Desk(desk.settings, desk.store, desk.lake, fail)
    with pytest.raises(ConnectionError):
        decisions.approve(broken, row["proposal_id"], decided_by="ada")
    assert _state(desk, row) == "approved"
    assert decisions.publish_active(desk).published
    assert sent == [topology(8)]


def test_without_a_broker_nothing_is_published_and_the_caller_knows(desk):
    desk, _ = desk
    found = decisions.approve(
        decisions.Desk.of(desk.settings, desk.store, desk.lake), _store(desk, 8)[0]["proposal_id"], decided_by="ada"
    )
    assert not found.published


def test_a_step_done_again_does_not_undo_a_decision(desk):
    desk, _ = desk
    row = _store(desk, 8)[0]
    decisions.reject(desk, row["proposal_id"], decided_by="ada")
    again = _store(desk, 8)
    assert _state(desk, row) == "pending"
    assert decisions.reconcile(desk, again) == 1
    assert _state(desk, row) == "rejected"


def test_old_pending_proposals_expire_and_others_do_not(desk):
    desk, _ = desk
    old = _store(desk, 8, created_ms=NOW - 73 * 3_600_000, run_id="old")[0]
    new = _store(desk, 7, created_ms=NOW, run_id="new")[0]
    expired = {d.proposal_id for d in decisions.expire(desk, NOW)}
    assert old["proposal_id"] in expired
    assert (_state(desk, old), _state(desk, new)) == ("expired", "pending")


def test_proposals_are_listed_by_state_and_run(desk):
    desk, _ = desk
    row = _store(desk, 8, run_id="a")[0]
    _store(desk, 7, run_id="b")
    decisions.reject(desk, row["proposal_id"], decided_by="ada")
    listed = decisions.list_proposals(desk.lake, desk.datacenter, state="rejected")
    assert [r["proposal_id"] for r in listed] == [row["proposal_id"]]
    assert {r["run_id"] for r in decisions.list_proposals(desk.lake, desk.datacenter, run_id="b")} == {"b"}
    with pytest.raises(InputError, match="pending, approved"):
        decisions.list_proposals(desk.lake, desk.datacenter, state="maybe")


AUTO = {"optimize.auto_approve": True, "optimize.auto_max_hosts_changed_pct": 25.0}


def test_nothing_is_approved_automatically_unless_switched_on(desk):
    desk, sent = desk
    assert auto_approve(desk, _store(desk, 9))[0] is None
    assert sent == []


@pytest.mark.parametrize("desk", [AUTO], indirect=True)
def test_the_policy_approves_within_its_limits_and_says_so(desk):
    desk, sent = desk
    found, why = auto_approve(desk, _store(desk, 8), NOW)
    assert found.decision.decided_by == "policy:auto"
    assert "saves 20 kWh" in why
    assert sent == [topology(8)]


@pytest.mark.parametrize("desk", [AUTO], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"energy": 99.0}, "misses an objective"),
        ({"energy": 99.0, "slo": SloSettings(energy_kwh=100)}, "saves 1.00 % for sure, 2 % are needed"),
        ({"hosts": 7}, "changes 30.0 % of the hosts, 25 % are allowed"),
        ({"base": topology(10, speed=3000)}, "the topology it changes is not known"),
    ],
)
def test_the_policy_refuses_what_breaks_a_limit(desk, arguments, reason):
    desk, sent = desk
    hosts = arguments.pop("hosts", 8)
    found, why = auto_approve(desk, _store(desk, hosts, **arguments), NOW)
    assert found is None
    assert reason in why
    assert sent == []


@pytest.mark.parametrize("desk", [AUTO], indirect=True)
def test_the_lower_end_of_the_band_must_save_enough(desk):
    desk, _ = desk
    rows = [row | {"energy_high_kwh": 99.5} for row in _store(desk, 8)]
    assert "saves 0.50 % for sure" in auto_approve(desk, rows, NOW)[1]


@pytest.mark.parametrize("desk", [AUTO], indirect=True)
def test_the_policy_stops_at_its_number_per_day(desk):
    desk, _ = desk
    assert auto_approve(desk, _store(desk, 9), NOW)[0] is not None
    found, why = auto_approve(desk, _store(desk, 8, run_id="later"), NOW + 3_600_000)
    assert found is None
    assert "1 automatic approvals in 24 hours" in why


def _windows(desk, spec, run_id="r1"):
    """Windows of one hour: (topology, utilisation, energy kWh) each."""
    windows, samples = [], []
    for index, (world, load, energy_kwh) in enumerate(spec):
        key = {"run_id": run_id, "datacenter": desk.datacenter, "window_index": index}
        windows.append(key | {"start_ms": index * 3_600_000, "end_ms": (index + 1) * 3_600_000, "state": "closed",
                              "topology_version": world.version, "energy_j": energy_kwh * 3.6e6})  # fmt: skip
        samples.append(key | {"timestamp_ms": index * 3_600_000, "utilization_ratio": load})
    desk.lake.upsert("windows", windows)
    desk.lake.upsert("power_samples", samples)


def _linear_kwh(hosts, load):
    """Energy of an hour on ``hosts`` hosts at a mean load: 100 W idle, 100 W more when full."""
    return hosts * (0.1 + 0.1 * load)


def test_the_realised_effect_is_compared_with_the_predicted_one(desk):
    desk, _ = desk
    # predicted: 8 hosts need 9.2 of 10 hosts' energy for the same work
    row = _store(desk, 8, energy=92.0, slo=SloSettings(energy_kwh=95))[0]
    decisions.approve(desk, row["proposal_id"], decided_by="ada")
    _topology_row(desk, topology(8))
    before = [(BASE, load, _linear_kwh(10, load)) for load in (0.2, 0.4, 0.6)]
    after = [(topology(8), load / 0.8, _linear_kwh(8, load / 0.8)) for load in (0.3, 0.5, 0.4, 0.2)]
    _windows(desk, before + after)
    made = follow_up(desk, "r1")
    assert [d.decision for d in made] == ["applied", "verified"]
    expected = sum(_linear_kwh(10, load) for load in (0.3, 0.5, 0.4, 0.2))
    assert made[1].predicted_energy_kwh == pytest.approx(expected * 0.92)
    # the same work on eight hosts saves exactly the idle power of two
    assert made[1].realised_energy_kwh == pytest.approx(expected - 4 * 2 * 0.1)
    assert "saved 0.8 kWh" in made[1].reason
    assert _state(desk, row) == "verified"
    assert follow_up(desk, "r1") == []


def test_a_verdict_waits_for_enough_windows(desk):
    desk, _ = desk
    row = _store(desk, 8)[0]
    decisions.approve(desk, row["proposal_id"], decided_by="ada")
    _topology_row(desk, topology(8))
    _windows(desk, [(BASE, 0.5, 1.5)])
    assert follow_up(desk, "r1") == []
    _windows(desk, [(BASE, 0.5, 1.5), (topology(8), 0.6, 1.3)])
    assert [d.decision for d in follow_up(desk, "r1")] == ["applied"]
    assert _state(desk, row) == "applied"


def test_rows_carry_the_version_of_the_topology_they_change(desk):
    row = _store(desk[0], 8)[0]
    assert decisions.base_version(row) == BASE.version
    assert orjson.loads(row["details_json"])["effect"] == "saves 20 kWh"
