"""Which inputs need OpenDC's update procedure step by step, and which the closed form serves exactly."""

from __future__ import annotations

from opendt.engine.base import EngineOptions
from opendt.engine.native.policies import BY_LISTS, read_policy
from opendt.models.topology import Topology


def reason_for_exact(topology: Topology, options: EngineOptions) -> str | None:
    """Why the closed form (SEMANTICS 5.4) would not give OpenDC's results, or None where it does."""
    if options.exact:
        return "asked for"
    if options.scaling == "Perfect":
        return "Perfect scaling"
    if options.failures is not None and options.failures.get("type") != "no":
        return "failures"
    if options.checkpoints is not None:
        return "checkpoints"
    if read_policy(options.allocation).way == BY_LISTS:
        return "policy TaskNumMemorizing"
    if options.allocation.get("type") == "timeshift" or options.allocation.get("policyName") == "Timeshift":
        return "policy timeshift"
    for cluster in topology.clusters:
        if cluster.battery is not None:
            return "a battery"
        for host in cluster.hosts:
            if host.gpu is not None:
                return "GPUs"
            if host.cpuDistributionPolicy.type not in ("MAX_MIN_FAIRNESS", "FIRST_FIT"):
                return f"distribution policy {host.cpuDistributionPolicy.type}"
    return None
