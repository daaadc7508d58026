"""Operational records that people change: SLO targets, active topology, decisions.

Nothing is overwritten: a change is a new version, so history and rollback come for free. Every change is copied to
the lake as an event by ``copy_events``; the store stays the authority.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from types import TracebackType

import orjson
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from opendt.errors import InputError
from opendt.models.topology import Topology, parse_topology
from opendt.settings import Settings, SloSettings
from opendt.store.database import open_engine, session
from opendt.store.models import ActivationRow, DecisionRow, SloRow, TopologyRow
from opendt.store.records import ActiveTopology, Decision, DecisionKind, SloVersion, TopologySource


def wall_clock_ms() -> int:
    """Wall-clock epoch time [ms]."""
    return time.time_ns() // 1_000_000


class Store:
    """The operational store. Use as a context manager; safe to share between threads.

    Every method raises ``TransientError`` while the database is locked or away.
    """

    def __init__(self, engine: Engine, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._engine = engine
        self._clock_ms = clock_ms

    @classmethod
    def open(cls, settings: Settings, *, read_only: bool = False, clock_ms: Callable[[], int] = wall_clock_ms) -> Store:
        """Open the store, creating it if needed; ``read_only`` creates nothing and reads a missing one as empty."""
        return cls(open_engine(settings, read_only=read_only), clock_ms)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ping(self) -> None:
        """Ask the database for nothing in particular; raises ``TransientError`` if it does not answer."""
        with session(self._engine, writes=False) as s:
            s.execute(select(1))

    # Topology

    def set_active_topology(
        self,
        datacenter: str,
        topology: Topology,
        *,
        source: TopologySource,
        decided_by: str,
        run_id: str | None = None,
        proposal_id: str | None = None,
        reason: str = "",
    ) -> ActiveTopology:
        """Put a topology in force. Setting the active one again changes nothing and returns it as it stands."""
        with session(self._engine, writes=True) as s:
            current = _active(s, datacenter)
            if current and current.version == topology.version:
                return _activation(s, current)
            now = self._clock_ms()
            if s.get(TopologyRow, (datacenter, topology.version)) is None:
                text = topology.to_json().decode()
                s.add(TopologyRow(datacenter=datacenter, version=topology.version, topology_json=text, created_ms=now))
                s.flush()
            row = ActivationRow(
                datacenter=datacenter,
                version=topology.version,
                source=source,
                run_id=run_id,
                proposal_id=proposal_id,
                decided_by=decided_by,
                reason=reason,
                activated_ms=now,
            )
            s.add(row)
            s.flush()
            return _activation(s, row)

    def rollback_topology(
        self, datacenter: str, version: str | None = None, *, decided_by: str, reason: str = ""
    ) -> ActiveTopology:
        """Put an earlier version in force again; the one before the active one when none is named.

        Raises ``InputError`` when there is no such version.
        """
        history = self.topology_history(datacenter, limit=10_000)
        found = [a for a in history[1:] if version in (None, a.version) and a.version != history[0].version]
        if not found:
            known = ", ".join(dict.fromkeys(a.version for a in history[1:])) or "none"
            wanted = f"version {version}" if version else "earlier version"
            raise InputError(f"datacenter {datacenter} has no {wanted} to go back to; earlier versions: {known}.")
        return self.set_active_topology(
            datacenter, found[0].topology, source="rollback", decided_by=decided_by, reason=reason
        )

    def active_topology(self, datacenter: str) -> ActiveTopology | None:
        """The topology in force, or None before the first."""
        with session(self._engine, writes=False) as s:
            row = _active(s, datacenter)
            return _activation(s, row) if row else None

    def topology_history(self, datacenter: str, *, limit: int = 100, offset: int = 0) -> list[ActiveTopology]:
        """Every activation, newest first."""
        query = (
            select(ActivationRow, TopologyRow)
            .join(TopologyRow)
            .where(ActivationRow.datacenter == datacenter)
            .order_by(ActivationRow.number.desc())
            .limit(limit)
            .offset(offset)
        )
        with session(self._engine, writes=False) as s:
            return [_record(row, content) for row, content in s.execute(query)]

    # Service level objectives

    def set_slo(self, datacenter: str, slo: SloSettings, *, source: str) -> SloVersion:
        """Set the targets. Setting those in force again changes nothing and returns them as they stand."""
        with session(self._engine, writes=True) as s:
            current = _slo(s, datacenter)
            if current and _slo_record(current).slo == slo:
                return _slo_record(current)
            row = SloRow(
                datacenter=datacenter,
                version=(current.version if current else 0) + 1,
                slo_json=orjson.dumps(slo.model_dump()).decode(),
                source=source,
                created_ms=self._clock_ms(),
            )
            s.add(row)
            s.flush()
            return _slo_record(row)

    def slo(self, datacenter: str) -> SloVersion | None:
        """The targets in force, or None if none were ever set (those of the settings hold then)."""
        with session(self._engine, writes=False) as s:
            row = _slo(s, datacenter)
            return _slo_record(row) if row else None

    def slo_history(self, datacenter: str, *, limit: int = 100, offset: int = 0) -> list[SloVersion]:
        """Every version, newest first."""
        query = (
            select(SloRow)
            .where(SloRow.datacenter == datacenter)
            .order_by(SloRow.version.desc())
            .limit(limit)
            .offset(offset)
        )
        with session(self._engine, writes=False) as s:
            return [_slo_record(row) for row in s.scalars(query)]

    # Decisions

    def decide(
        self,
        proposal_id: str,
        datacenter: str,
        decision: DecisionKind,
        *,
        decided_by: str,
        reason: str = "",
        topology_version: str | None = None,
        predicted_energy_kwh: float | None = None,
        realised_energy_kwh: float | None = None,
    ) -> Decision:
        """Record a decision about a proposal.

        Raises ``InputError`` when it cannot follow what was decided before: the same again, or an approval after a
        rejection, an expiry or a rollback.
        """
        with session(self._engine, writes=True) as s:
            before = list(s.scalars(select(DecisionRow.decision).where(DecisionRow.proposal_id == proposal_id)))
            _check_order(proposal_id, decision, before)
            row = DecisionRow(
                decision_id=f"d-{uuid.uuid4().hex[:12]}",
                proposal_id=proposal_id,
                datacenter=datacenter,
                decision=decision,
                decided_by=decided_by,
                reason=reason,
                topology_version=topology_version,
                predicted_energy_kwh=predicted_energy_kwh,
                realised_energy_kwh=realised_energy_kwh,
                created_ms=self._clock_ms(),
            )
            s.add(row)
            s.flush()
            return _decision(row)

    def decisions(
        self,
        datacenter: str | None = None,
        *,
        proposal_id: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Decision]:
        """Decisions, newest first, of a datacenter and of a proposal where named."""
        query = select(DecisionRow).order_by(DecisionRow.number.desc()).limit(limit).offset(offset)
        if datacenter is not None:
            query = query.where(DecisionRow.datacenter == datacenter)
        if proposal_id is not None:
            query = query.where(DecisionRow.proposal_id == proposal_id)
        with session(self._engine, writes=False) as s:
            return [_decision(row) for row in s.scalars(query)]

    # Copying to the lake

    def uncopied(self) -> tuple[list[ActiveTopology], list[SloVersion], list[Decision]]:
        """Changes the lake has not got yet, oldest first."""
        with session(self._engine, writes=False) as s:
            activations = s.execute(
                select(ActivationRow, TopologyRow)
                .join(TopologyRow)
                .where(ActivationRow.copied.is_(False))
                .order_by(ActivationRow.number)
            )
            slos = s.scalars(select(SloRow).where(SloRow.copied.is_(False)).order_by(SloRow.version))
            decided = s.scalars(select(DecisionRow).where(DecisionRow.copied.is_(False)).order_by(DecisionRow.number))
            return (
                [_record(row, content) for row, content in activations],
                [_slo_record(row) for row in slos],
                [_decision(row) for row in decided],
            )

    def mark_copied(self, activations: list[ActiveTopology], slos: list[SloVersion], decisions: list[Decision]) -> None:
        """Remember that the lake has these changes."""
        numbers = [a.number for a in activations]
        ids = [d.decision_id for d in decisions]
        with session(self._engine, writes=True) as s:
            s.execute(update(ActivationRow).where(ActivationRow.number.in_(numbers)).values(copied=True))
            s.execute(update(DecisionRow).where(DecisionRow.decision_id.in_(ids)).values(copied=True))
            for slo in slos:
                one = (SloRow.datacenter == slo.datacenter) & (SloRow.version == slo.version)
                s.execute(update(SloRow).where(one).values(copied=True))


_FINAL = {"rejected", "expired", "rolled-back"}


def _check_order(proposal_id: str, decision: str, before: list[str]) -> None:
    if decision in before:
        raise InputError(f"proposal {proposal_id} has been {decision} already.", proposal_id=proposal_id)
    ended = _FINAL.intersection(before)
    if ended:
        raise InputError(
            f"proposal {proposal_id} was {ended.pop()}; it cannot be {decision} now.", proposal_id=proposal_id
        )
    if decision in {"rejected", "expired"} and "approved" in before:
        raise InputError(f"proposal {proposal_id} was approved; it cannot be {decision} now.", proposal_id=proposal_id)
    if decision in {"applied", "verified", "rolled-back"} and "approved" not in before:
        raise InputError(
            f"proposal {proposal_id} was never approved; it cannot be {decision}.", proposal_id=proposal_id
        )


def _active(s: Session, datacenter: str) -> ActivationRow | None:
    latest = select(func.max(ActivationRow.number)).where(ActivationRow.datacenter == datacenter).scalar_subquery()
    return s.scalar(select(ActivationRow).where(ActivationRow.number == latest))


def _activation(s: Session, row: ActivationRow) -> ActiveTopology:
    content = s.get_one(TopologyRow, (row.datacenter, row.version))
    return _record(row, content)


def _record(row: ActivationRow, content: TopologyRow) -> ActiveTopology:
    return ActiveTopology(
        number=row.number,
        datacenter=row.datacenter,
        version=row.version,
        topology=parse_topology(orjson.loads(content.topology_json), f"stored topology {row.version}"),
        source=row.source,
        run_id=row.run_id,
        proposal_id=row.proposal_id,
        decided_by=row.decided_by,
        reason=row.reason,
        activated_ms=row.activated_ms,
    )


def _slo(s: Session, datacenter: str) -> SloRow | None:
    return s.scalar(select(SloRow).where(SloRow.datacenter == datacenter).order_by(SloRow.version.desc()).limit(1))


def _slo_record(row: SloRow) -> SloVersion:
    slo = SloSettings.model_validate(orjson.loads(row.slo_json))
    return SloVersion(row.datacenter, row.version, slo, row.source, row.created_ms)


def _decision(row: DecisionRow) -> Decision:
    return Decision(
        decision_id=row.decision_id,
        proposal_id=row.proposal_id,
        datacenter=row.datacenter,
        decision=row.decision,  # type: ignore[arg-type]
        decided_by=row.decided_by,
        reason=row.reason,
        topology_version=row.topology_version,
        predicted_energy_kwh=row.predicted_energy_kwh,
        realised_energy_kwh=row.realised_energy_kwh,
        created_ms=row.created_ms,
    )
