"""What the store hands out: frozen records, independent of any session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from opendt.models.topology import Topology
from opendt.settings import SloSettings

TopologySource = Literal["trace", "api", "cli", "calibration", "proposal", "rollback"]
DecisionKind = Literal["approved", "rejected", "expired", "applied", "verified", "rolled-back"]


@dataclass(frozen=True, slots=True)
class ActiveTopology:
    """A topology that is or was in force.

    ``number`` grows with every activation over all datacenters; ``activated_ms`` is wall-clock epoch time [ms].
    """

    number: int
    datacenter: str
    version: str
    topology: Topology
    source: str
    run_id: str | None
    proposal_id: str | None
    decided_by: str
    reason: str
    activated_ms: int


@dataclass(frozen=True, slots=True)
class SloVersion:
    """Service level objectives as set at one moment; versions count from 1 per datacenter."""

    datacenter: str
    version: int
    slo: SloSettings
    source: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person or a policy decided about a proposal."""

    decision_id: str
    proposal_id: str
    datacenter: str
    decision: DecisionKind
    decided_by: str
    reason: str
    topology_version: str | None
    predicted_energy_kwh: float | None
    realised_energy_kwh: float | None
    created_ms: int
