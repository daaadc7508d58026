"""How utilised hosts are at each sample and were since the one before (``opendt.engine.base.Occupancy``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from opendt.engine.native.exact.service import Host

Occupied = tuple[int, Any, Any, Any]  # time, weights, mean weights, active hosts


def occupied(hosts: list[Host], knots: int, since: int, now: int) -> Occupied:
    """Weights of every group at ``now`` and averaged over the time since ``since``; forgets the past of the hosts."""
    groups = max((host.group for host in hosts), default=-1) + 1
    at, mean = np.zeros((groups, knots)), np.zeros((groups, knots))
    active = np.zeros(groups, np.int64)
    for host in hosts:
        past = host.cpu.take_past(now)
        u = min(max(host.cpu.demand, 0.0) / host.cpu.capacity, 1.0)
        _add(at[host.group], u, 1.0)
        active[host.group] += bool(host.running)
        for dt, level in past:
            _add(mean[host.group], level, dt)
    return now, at, mean / (now - since) if now > since else at, active


def _add(row: Any, u: float, weight: float) -> None:
    x = u * (len(row) - 1)
    k = min(int(x), len(row) - 2)
    row[k] += weight * (1.0 - (x - k))
    row[k + 1] += weight * (x - k)
