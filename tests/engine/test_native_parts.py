"""The native engine's parts against their obvious twins."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_worlds import EPOCH, host, topology, workload
from hypothesis import given, settings
from hypothesis import strategies as st

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native import jdk, layout, world
from opendt.engine.native.engine import NativeEngine
from opendt.engine.native.exact.distributor import IndexSet, fair_shares
from opendt.engine.native.exact.failures import draw, new_failures
from opendt.engine.native.exact.prefabs import PREFABS
from opendt.engine.native.exact.random import JavaRandom, SplittableRandom
from opendt.engine.native.placement import best_by_scan, best_in_tree, build_tree, update_tree
from opendt.engine.native.policies import read_policy
from opendt.engine.native.tables import BLOCK_ROWS, Words, first_rows, nullable, of_samples, repeated_text, text_column
from opendt.engine.native.timers import sort
from opendt.engine.native.watts import curve_arrays, watts
from opendt.errors import ConfigError
from opendt.models.topology import PowerModel, parse_topology
from opendt.power.curves import power_w

CURVES = [
    PowerModel(modelType="constant", power=150.0),
    *(PowerModel(modelType=kind, idlePower=100.0, maxPower=200.0) for kind in ("sqrt", "linear", "square", "cubic")),
    *(PowerModel(modelType="mse", idlePower=25.0, maxPower=174.0, calibrationFactor=c) for c in (1.4, 2.0, 4.0)),
    *(PowerModel(modelType="asymptotic", idlePower=100.0, maxPower=200.0, asymUtil=0.3, dvfs=d) for d in (True, False)),
    PowerModel(modelType="active", idlePower=50.0, maxPower=180.0, stepPower=20.0, quadraticPower=10.0),
    PowerModel(modelType="piecewise", levels=(50.0, 90.0, 150.0, 180.0)),
]


@pytest.mark.parametrize("model", CURVES, ids=lambda m: f"{m.modelType}-{m.calibrationFactor}-{m.dvfs}")
def test_compiled_curves_equal_the_readable_ones(model):
    u = np.linspace(0.0, 1.0, 101)
    kind, values, levels = curve_arrays([model])
    compiled = [watts(kind, values, levels, 0, x) for x in u]
    np.testing.assert_allclose(compiled, power_w(model, u), rtol=1e-13)


def test_java_random_gives_what_the_jdk_gives():
    random = JavaRandom(42)
    assert [random.below(10) for _ in range(10)] == [0, 3, 8, 4, 0, 5, 5, 8, 9, 3]
    assert JavaRandom(0).long() == -4962768465676381896 % 2**64


@given(st.integers(0, 2**31), st.lists(st.integers(1, 1000), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_compiled_generators_equal_the_plain_ones(seed, bounds):
    java = JavaRandom(SplittableRandom(seed).long())
    split = SplittableRandom(JavaRandom(SplittableRandom(seed).long()).long())
    state = jdk.seeded(seed)
    assert [jdk.linear_below(state, b) for b in bounds] == [java.below(b) for b in bounds]
    assert [jdk.split_below(state, b) for b in bounds] == [split.below(b) for b in bounds]


def test_names_get_opendcs_suffixes():
    site = layout.site_of(
        parse_topology({"clusters": [{"hosts": [host(count=3), host(name="X"), host()]}, {"hosts": [host()]}]})
    )
    assert site.host_names == ("H", "H-0", "H-1", "X", "H-2", "H-3")
    assert site.cluster_names == ("Cluster", "Cluster-0")
    assert site.source_names == ("PowerSource", "PowerSource-0")
    assert site.groups == ((0, 0), (0, 1), (0, 2), (1, 0))


machines_ = st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 20), st.integers(0, 1))
ranked = st.sampled_from(["Mem", "MemInv", "CoreMem", "ActiveServers", "ProvisionedCoresInv"])


@given(st.lists(machines_, min_size=1, max_size=40), st.integers(1, 8), st.integers(0, 20), ranked)
@settings(max_examples=200, deadline=None)
def test_tree_finds_what_a_scan_finds(machines, cpu, mem, name):
    hosts = np.zeros(len(machines), world.HOST)
    for i, (cores, reserved, used, usable) in enumerate(machines):
        hosts[i]["cores"], hosts[i]["reserved"], hosts[i]["memory_mib"] = cores, min(reserved, cores), 16
        hosts[i]["free_mib"], hosts[i]["open"], hosts[i]["instances"] = 16 - used, usable, reserved
    policy = read_policy({"policyName": name})
    numbers, values = policy.arrays()
    tree = np.empty(2 * (1 << max(len(machines) - 1, 0).bit_length()) if len(machines) > 1 else 2, world.NODE)
    build_tree(tree, hosts, numbers, values[0])
    stack = np.zeros(128, np.int64)
    expected = best_by_scan(hosts, policy.filters, policy.score, policy.sign, cpu, mem, 0.0)
    assert best_in_tree(tree, hosts, stack, cpu, mem) == expected
    if expected >= 0:
        hosts[expected]["reserved"] += cpu
        hosts[expected]["free_mib"] -= mem
        hosts[expected]["instances"] += 1
        update_tree(tree, hosts, numbers, values[0], expected)
        again = best_by_scan(hosts, policy.filters, policy.score, policy.sign, cpu, mem, 0.0)
        assert best_in_tree(tree, hosts, stack, cpu, mem) == again


@given(st.lists(st.integers(-(2**40), 2**40), max_size=300))
@settings(max_examples=50, deadline=None)
def test_sort_sorts(values):
    array = np.array(values, np.int64)
    sort(array, len(array))
    assert array.tolist() == sorted(values)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6), st.lists(st.integers(-1, 5), max_size=30))
@settings(max_examples=50, deadline=None)
def test_text_columns_hold_the_words(words, index):
    index = [i if i < len(words) else -1 for i in index]
    places = np.array(index, np.int64)
    assert text_column(Words(words), places).to_pylist() == [words[i] if i >= 0 else "" for i in index]
    found = text_column(Words(words), places, nullable=True).to_pylist()
    assert found == [words[i] if i >= 0 else None for i in index]
    assert repeated_text(words, 3).to_pylist() == words * 3


@pytest.mark.parametrize("rows", [0, 1, 7, BLOCK_ROWS, 3 * BLOCK_ROWS + 5])
def test_a_block_repeated_without_end_is_cut_where_the_rows_end(rows):
    block = pa.array([3, 1, 2] * (BLOCK_ROWS // 3))
    assert first_rows(block, rows).to_pylist() == ([3, 1, 2] * rows)[:rows]


@given(st.lists(st.sampled_from([150, 150, 150, 7]), min_size=1, max_size=60), st.sampled_from([1, 3, BLOCK_ROWS]))
@settings(max_examples=50, deadline=None)
def test_every_row_of_a_sample_gets_the_samples_value(values, each):
    column = of_samples(np.array(values), each, "i8")
    np.testing.assert_array_equal(column.to_numpy(), np.repeat(values, each))


@given(st.lists(st.integers(-2, 2), max_size=40))
def test_negative_values_become_null(values):
    assert nullable(np.array(values, np.int64)).to_pylist() == [v if v >= 0 else None for v in values]


def test_fair_shares_of_the_worked_example():
    assert fair_shares([500.0, 2000.0, 3000.0], 4000.0) == [500.0, 1750.0, 1750.0]
    assert fair_shares([0.0, 5000.0], 4000.0) == [0.0, 4000.0]


def test_index_set_visits_in_the_order_of_a_java_hash_set():
    members = IndexSet()
    for member in (33, 17, 1, 0, 16):
        members.add(member)
    assert members.ordered() == [0, 16, 33, 17, 1]
    for member in range(2, 10):
        members.add(member)
    assert members.slots == 32
    assert members.ordered() == [0, 33, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17]
    assert members.without(2).ordered() == [0, 32, 16, 1, 2, 3, 4, 5, 6, 7, 8, 15]  # 12 of 16 slots: not yet doubled


@pytest.mark.parametrize(
    ("distribution", "mean"),
    [
        ({"type": "constant", "value": 3.0}, 3.0),
        ({"type": "exponential", "mean": 2.0}, 2.0),
        ({"type": "gamma", "shape": 3.0, "scale": 2.0}, 6.0),
        ({"type": "log-normal", "scale": 0.5, "shape": 0.5}, float(np.exp(0.625))),
        ({"type": "normal", "mean": 5.0, "std": 1.0}, 5.0),
        ({"type": "pareto", "scale": 1.0, "shape": 5.0}, 1.25),
        ({"type": "uniform", "lower": 1.0, "upper": 3.0}, 2.0),
        ({"type": "weibull", "alpha": 1.0, "beta": 4.0}, 4.0),
    ],
)
def test_failure_distributions_have_the_mean_of_their_parameters(distribution, mean):
    rng = np.random.default_rng(1)
    assert np.mean([draw(distribution, rng) for _ in range(20_000)]) == pytest.approx(mean, rel=0.05)


def test_every_built_in_failure_model_draws_one_failure():
    assert len(PREFABS) == 36
    for name in PREFABS:
        failures = new_failures({"type": "prefab", "prefabName": name}, seed=3)
        assert failures is not None
        assert len(failures.failures) == 1
        wait, duration, share = failures.failures[0]
        assert wait >= 0
        assert duration >= 0
        assert 0 <= share <= 1


def test_failing_share_of_hosts_differs_by_seed_and_repeats_with_it():
    model = {
        "type": "custom", "iatSampler": {"type": "constant", "value": 0.001},
        "durationSampler": {"type": "constant", "value": 0.01}, "nohSampler": {"type": "constant", "value": 0.5},
    }  # fmt: skip
    work = workload(*({"cpu": 1, "fragments": [(60_000, 500.0)]} for _ in range(8)))

    def failed(seed):
        options = EngineOptions(sample_interval_ms=10_000, host_every=1, failures=model, seed=seed)
        result = simulate(NativeEngine(), topology(host(count=8, cores=1)), work, options)
        events = result.task_events.to_pylist()
        assert result.tasks_completed == 8
        assert min(result.service["hosts_up"].to_pylist()) == 4
        return sorted(e["host_name"] for e in events if e["event"] == "failed")

    assert len(failed(0)) == 4
    assert failed(0) == failed(0)
    assert len({tuple(failed(seed)) for seed in range(5)}) > 1


def test_task_that_fails_too_often_is_terminated():
    model = {
        "type": "custom", "iatSampler": {"type": "constant", "value": 0.001},
        "durationSampler": {"type": "constant", "value": 0.001}, "nohSampler": {"type": "constant", "value": 1.0},
    }  # fmt: skip
    options = EngineOptions(failures=model, max_failures=1)
    result = simulate(NativeEngine(), topology(), workload({"fragments": [(60_000, 500.0)]}), options)
    assert (result.tasks_completed, result.tasks_terminated) == (0, 1)
    last = result.task_events.to_pylist()[-1]
    assert (last["event"], last["time_ms"]) == ("terminated", EPOCH + 3600)


@pytest.mark.parametrize(
    "allocation",
    [
        {"type": "prefab", "policyName": "Best"}, {"type": "magic"}, {"type": "filter", "filters": [{"type": "X"}]},
        {"type": "filter", "weighers": [{"type": "VCpu", "multiplier": 0}]}, {"type": "filter", "subsetSize": 0},
    ],
)  # fmt: skip
def test_unknown_policies_are_refused_with_the_valid_names(allocation):
    with pytest.raises(ConfigError):
        NativeEngine().start(topology(), EngineOptions(allocation=allocation))
