"""Allocation policies of the experiment format as numbers for the kernels (SEMANTICS 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from opendt.errors import ConfigError

# How a host is chosen.
BY_SCORE, BY_RANDOM, BY_WEIGHERS, BY_LISTS = 0, 1, 2, 3
# Scores and weighers.
FREE_MEMORY, FREE_MEMORY_PER_CORE, TASKS, RESERVED_CORES, RESERVED_GPU_CORES = 0, 1, 2, 3, 4
WEIGH_CORES, WEIGH_CAPACITY = 5, 6
# Filters.
FILTER_CORES, FILTER_MEMORY, FILTER_CAPACITY, FILTER_INSTANCES, FILTER_GPU = 0, 1, 2, 3, 4

RAM_RATIO = 1.5  # of the prefab policies

_SCORED = {
    "Mem": (FREE_MEMORY, 1.0),
    "MemInv": (FREE_MEMORY, -1.0),
    "CoreMem": (FREE_MEMORY_PER_CORE, 1.0),
    "CoreMemInv": (FREE_MEMORY_PER_CORE, 1.0),  # OpenDC applies the sign twice
    "ActiveServers": (TASKS, -1.0),
    "ActiveServersInv": (TASKS, 1.0),
    "ProvisionedCores": (RESERVED_CORES, -1.0),
    "ProvisionedCoresInv": (RESERVED_CORES, 1.0),
    "Timeshift": (FREE_MEMORY, 1.0),
}
_FILTERS = {
    "Compute",
    "VCpu",
    "Ram",
    "VCpuCapacity",
    "InstanceCount",
    "SameHost",
    "DifferentHost",
    "VGpu",
    "VGpuCapacity",
}
_WEIGHERS = {"Ram", "CoreRam", "InstanceCount", "VCpu", "VCpuCapacity"}


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: ``way`` of choosing, ``score`` and ``sign`` for BY_SCORE, and rows for filters and weighers.

    ``filters`` and ``weighers`` are float64 arrays of (kind, value).
    """

    way: int
    score: int
    sign: float
    subset: int
    filters: Any
    weighers: Any

    def arrays(self) -> tuple[Any, Any]:
        """(int64 numbers, float64 numbers) for the kernels."""
        return np.array([self.way, self.score, self.subset], np.int64), np.array([self.sign])


def read_policy(allocation: dict[str, Any]) -> Policy:
    """The policy of an OpenDC allocation policy object.

    Raises ``ConfigError`` for an unknown type or name, listing the valid ones.
    """
    kind = allocation.get("type", "prefab")
    if kind == "prefab":
        return _prefab(str(allocation.get("policyName", "Mem")))
    if kind == "filter":
        return _filtered(allocation)
    if kind == "timeshift":
        return _filtered({**allocation, "filters": allocation.get("filters") or [{"type": "Compute"}]})
    raise ConfigError(f"allocation policy type '{kind}' is unknown; use prefab, filter or timeshift.", value=kind)


def _prefab(name: str) -> Policy:
    filters = _rows([(FILTER_CORES, 1.0), (FILTER_MEMORY, RAM_RATIO)])
    if name in _SCORED:
        score, sign = _SCORED[name]
        return Policy(BY_SCORE, score, sign, 1, filters, _rows([]))
    if name == "Random":
        return Policy(BY_RANDOM, 0, 1.0, 1, filters, _rows([]))
    if name == "TaskNumMemorizing":
        return Policy(BY_LISTS, 0, 1.0, 1, filters, _rows([]))
    if name in ("ProvisionedCpuGpuCores", "ProvisionedCpuGpuCoresInv"):
        sign = -1.0 if name.endswith("Inv") else 1.0  # of 1 - reserved
        filters = _rows([(FILTER_CORES, 1.0), (FILTER_MEMORY, RAM_RATIO), (FILTER_GPU, 1.0)])
        return Policy(BY_WEIGHERS, 0, 1.0, 1, filters, _rows([(RESERVED_CORES, sign), (RESERVED_GPU_CORES, sign)]))
    names = [*_SCORED, "Random", "TaskNumMemorizing", "ProvisionedCpuGpuCores", "ProvisionedCpuGpuCoresInv"]
    raise ConfigError(f"allocation policyName '{name}' is unknown; use one of {', '.join(names)}.", value=name)


def _filtered(allocation: dict[str, Any]) -> Policy:
    filters, weighers = [], []
    for item in allocation.get("filters", [{"type": "Compute"}]):
        kind = item.get("type")
        if kind not in _FILTERS:
            raise ConfigError(f"host filter '{kind}' is unknown; use one of {', '.join(sorted(_FILTERS))}.", value=kind)
        ratio = float(item.get("allocationRatio", 1.0))
        if kind == "VCpu":
            filters.append((FILTER_CORES, ratio))
        elif kind == "Ram":
            filters.append((FILTER_MEMORY, ratio))
        elif kind == "VCpuCapacity":
            filters.append((FILTER_CAPACITY, 0.0))
        elif kind == "VGpu":
            filters.append((FILTER_GPU, ratio))
        elif kind == "InstanceCount":
            filters.append((FILTER_INSTANCES, float(item["limit"])))
    for item in allocation.get("weighers", []):
        kind = item.get("type")
        if kind not in _WEIGHERS:
            raise ConfigError(f"weigher '{kind}' is unknown; use one of {', '.join(sorted(_WEIGHERS))}.", value=kind)
        factor = float(item.get("multiplier", 1.0))
        if kind == "VCpu" and factor <= 0:
            raise ConfigError("the VCpu weigher needs a multiplier above 0.", value=factor)
        number = {
            "Ram": FREE_MEMORY, "CoreRam": FREE_MEMORY_PER_CORE, "InstanceCount": TASKS, "VCpu": WEIGH_CORES,
            "VCpuCapacity": WEIGH_CAPACITY,
        }[kind]  # fmt: skip
        weighers.append((number, factor))
    subset = int(allocation.get("subsetSize", 1))
    if subset < 1:
        raise ConfigError(f"subsetSize is {subset}; must be at least 1.", value=subset)
    return Policy(BY_WEIGHERS, 0, 1.0, subset, _rows(filters), _rows(weighers))


def _rows(rows: list[tuple[int, float]]) -> Any:
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
