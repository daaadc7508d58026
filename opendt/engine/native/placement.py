"""Which host gets a task (SEMANTICS 7): compiled choices over the host arrays.

Policies that rank hosts by one number use a segment tree over the hosts in creation order, so that a placement costs
about log(hosts). The others look at every host, as OpenDC does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from opendt.engine.native.compiled import kernel
from opendt.engine.native.jdk import linear_below, split_below
from opendt.engine.native.policies import (
    BY_RANDOM,
    BY_SCORE,
    FILTER_CAPACITY,
    FILTER_CORES,
    FILTER_GPU,
    FILTER_INSTANCES,
    FILTER_MEMORY,
    FREE_MEMORY,
    FREE_MEMORY_PER_CORE,
    RESERVED_CORES,
    TASKS,
    WEIGH_CORES,
)

TINIEST = 4.9e-324  # Java's Double.MIN_VALUE, where OpenDC starts its search for a maximum
RAM = 1.5


@kernel
def score_of(hosts: Any, h: Any, score: Any) -> Any:
    """The number a host is ranked by."""
    if score == FREE_MEMORY:
        return float(hosts[h].free_mib)
    if score == FREE_MEMORY_PER_CORE:
        return hosts[h].free_mib / hosts[h].cores
    if score == TASKS:
        return float(hosts[h].instances)
    return float(hosts[h].reserved)


@kernel
def update_tree(tree: Any, hosts: Any, policy: Any, sign: Any, h: Any) -> None:
    """Bring the tree up to date after a change of host ``h``."""
    half = len(tree) // 2
    node = half + h
    room = hosts[h].cores - hosts[h].reserved
    if hosts[h].open == 0 or room <= 0:
        tree[node].key = -np.inf
        tree[node].room = -1
        tree[node].memory_room = -np.inf
    else:
        tree[node].key = sign * score_of(hosts, h, policy[1])
        tree[node].room = room
        tree[node].memory_room = hosts[h].memory_mib * RAM - (hosts[h].memory_mib - hosts[h].free_mib)
    node >>= 1
    while node >= 1:
        left = 2 * node
        right = left + 1
        tree[node].key = max(tree[left].key, tree[right].key)
        tree[node].room = max(tree[left].room, tree[right].room)
        tree[node].memory_room = max(tree[left].memory_room, tree[right].memory_room)
        node >>= 1


@kernel
def build_tree(tree: Any, hosts: Any, policy: Any, sign: Any) -> None:
    """Fill the tree from the hosts."""
    half = len(tree) // 2
    for node in range(len(tree)):
        tree[node].key = -np.inf
        tree[node].room = -1
        tree[node].memory_room = -np.inf
    for h in range(len(hosts)):
        room = hosts[h].cores - hosts[h].reserved
        if hosts[h].open == 1 and room > 0:
            tree[half + h].key = sign * score_of(hosts, h, policy[1])
            tree[half + h].room = room
            tree[half + h].memory_room = hosts[h].memory_mib * RAM - (hosts[h].memory_mib - hosts[h].free_mib)
    for node in range(half - 1, 0, -1):
        tree[node].key = max(tree[2 * node].key, tree[2 * node + 1].key)
        tree[node].room = max(tree[2 * node].room, tree[2 * node + 1].room)
        tree[node].memory_room = max(tree[2 * node].memory_room, tree[2 * node + 1].memory_room)


@kernel
def best_in_tree(tree: Any, hosts: Any, stack: Any, cpu: Any, mem: Any) -> Any:
    """First host with the highest key among those with room; -1 when there is none."""
    half = len(tree) // 2
    best = -1
    best_key = -np.inf
    stack[0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if tree[node].room < cpu or tree[node].memory_room < mem:
            continue
        if best >= 0:
            if tree[node].key < best_key:
                continue
            if tree[node].key == best_key:
                first = node
                while first < half:
                    first *= 2
                if first - half > best:
                    continue
        if node >= half:
            h = node - half
            if mem <= hosts[h].memory_mib:
                best = h
                best_key = tree[node].key
            continue
        left = 2 * node
        if tree[left + 1].key > tree[left].key:
            stack[depth] = left
            stack[depth + 1] = left + 1
        else:
            stack[depth] = left + 1
            stack[depth + 1] = left
        depth += 2
    return best


@kernel
def passes(hosts: Any, filters: Any, h: Any, cpu: Any, mem: Any, capacity: Any) -> Any:
    """Whether host ``h`` passes every filter for a task."""
    if hosts[h].open == 0:
        return False
    for row in range(len(filters)):
        kind = int(filters[row, 0])
        value = filters[row, 1]
        if kind == FILTER_CORES:
            if cpu > hosts[h].cores or hosts[h].cores * value - hosts[h].reserved < cpu:
                return False
        elif kind == FILTER_MEMORY:
            used = hosts[h].memory_mib - hosts[h].free_mib
            if mem > hosts[h].memory_mib or hosts[h].memory_mib * value - used < mem:
                return False
        elif kind == FILTER_CAPACITY:
            if capacity > 0.0 and hosts[h].capacity_mhz / hosts[h].cores < capacity / max(cpu, 1):
                return False
        elif kind == FILTER_INSTANCES:
            if hosts[h].instances >= value:
                return False
        elif kind == FILTER_GPU:
            continue  # GPU cores are checked by the exact engine
    return True


@kernel
def raw_weight(hosts: Any, h: Any, kind: Any, factor: Any, cpu: Any, capacity: Any) -> Any:
    """What a weigher says about host ``h`` before normalising."""
    if kind == FREE_MEMORY:
        return float(hosts[h].free_mib)
    if kind == FREE_MEMORY_PER_CORE:
        return factor * hosts[h].free_mib / hosts[h].cores
    if kind == TASKS:
        return float(hosts[h].instances)
    if kind == WEIGH_CORES:
        return factor - hosts[h].reserved
    if kind == RESERVED_CORES:
        return 1.0 - hosts[h].reserved
    return hosts[h].capacity_mhz - capacity / max(cpu, 1)


@kernel
def best_by_weighers(
    hosts: Any, s: Any, filters: Any, weighers: Any, subset: Any, random: Any, cpu: Any, mem: Any, capacity: Any
) -> Any:
    """OpenDC's filter scheduler: filter, weigh, sort, draw from the subset. -1 when no host passes."""
    n = len(hosts)
    candidate = s.candidate
    count = 0
    for h in range(n):
        if passes(hosts, filters, h, cpu, mem, capacity):
            candidate[count] = h
            count += 1
    if count == 0:
        return -1
    if len(weighers) == 0:
        return candidate[linear_below(random, min(subset, count))]
    total = s.total
    raw = s.raw
    for i in range(count):
        total[i] = 0.0
    for row in range(len(weighers)):
        kind = int(weighers[row, 0])
        factor = weighers[row, 1]
        low = np.inf
        high = TINIEST
        for i in range(count):
            raw[i] = raw_weight(hosts, candidate[i], kind, factor, cpu, capacity)
            low = min(low, raw[i])
            high = max(high, raw[i])
        if high - low == 0.0:
            continue
        scale = (1.0 if kind == WEIGH_CORES else factor) / (high - low)
        for i in range(count):
            total[i] += scale * (raw[i] - low)
    k = min(subset, count)
    chosen = linear_below(random, k)
    # The chosen-th of a stable descending sort in which NaN stands above everything.
    for rank in range(chosen + 1):
        best = -1
        for i in range(count):
            if candidate[i] < 0:
                continue
            if best < 0 or total[i] > total[best] or (math.isnan(total[i]) and not math.isnan(total[best])):
                best = i
        if rank == chosen:
            return candidate[best]
        candidate[best] = -1
    return -1


@kernel
def any_candidate(hosts: Any, candidate: Any, filters: Any, random: Any, cpu: Any, mem: Any, capacity: Any) -> Any:
    """A host drawn uniformly from those that pass (policy Random); -1 when none does."""
    n = len(hosts)
    count = 0
    for h in range(n):
        if passes(hosts, filters, h, cpu, mem, capacity):
            candidate[count] = h
            count += 1
    if count == 0:
        return -1
    return candidate[split_below(random, count)]


@kernel
def choose_host(tree: Any, hosts: Any, s: Any, trace: Any, cpu: Any, mem: Any, capacity: Any) -> Any:
    """The host for a task under the policy in force; -1 when none fits."""
    policy = trace.policy
    if policy[0] == BY_SCORE:
        if cpu > 0:
            return best_in_tree(tree, hosts, s.stack, cpu, mem)
        return best_by_scan(hosts, trace.filters, policy[1], trace.policy_values[0], cpu, mem, capacity)
    if policy[0] == BY_RANDOM:
        return any_candidate(hosts, s.candidate, trace.filters, trace.random, cpu, mem, capacity)
    return best_by_weighers(hosts, s, trace.filters, trace.weighers, policy[2], trace.random, cpu, mem, capacity)


@kernel
def best_by_scan(hosts: Any, filters: Any, score: Any, sign: Any, cpu: Any, mem: Any, capacity: Any) -> Any:
    """What the tree finds, the obvious way: the only one for tasks that ask for no core."""
    best = -1
    best_key = -np.inf
    for h in range(len(hosts)):
        if passes(hosts, filters, h, cpu, mem, capacity):
            key = sign * score_of(hosts, h, score)
            if best < 0 or key > best_key:
                best = h
                best_key = key
    return best
