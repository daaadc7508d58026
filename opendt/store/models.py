"""Tables of the operational store."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Float, ForeignKeyConstraint, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows by itself only for INTEGER keys.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Base of the store's tables."""


class TopologyRow(Base):
    """A topology by content; never changed."""

    __tablename__ = "topologies"
    datacenter: Mapped[str] = mapped_column(String(200), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    topology_json: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class ActivationRow(Base):
    """A topology put in force; the one with the highest number is active."""

    __tablename__ = "activations"
    __table_args__ = (ForeignKeyConstraint(["datacenter", "version"], ["topologies.datacenter", "topologies.version"]),)
    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    datacenter: Mapped[str] = mapped_column(String(200), index=True)
    version: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(40))
    run_id: Mapped[str | None] = mapped_column(String(200))
    proposal_id: Mapped[str | None] = mapped_column(String(200))
    decided_by: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    activated_ms: Mapped[int] = mapped_column(BigInteger)
    copied: Mapped[bool] = mapped_column(Boolean, default=False, index=True)


class SloRow(Base):
    """A version of the service level objectives; never changed."""

    __tablename__ = "slo_versions"
    datacenter: Mapped[str] = mapped_column(String(200), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    slo_json: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(40))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    copied: Mapped[bool] = mapped_column(Boolean, default=False, index=True)


class DecisionRow(Base):
    """What was decided about a proposal; each kind of decision at most once per proposal."""

    __tablename__ = "decisions"
    __table_args__ = (UniqueConstraint("proposal_id", "decision"),)
    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    decision_id: Mapped[str] = mapped_column(String(200), unique=True)
    proposal_id: Mapped[str] = mapped_column(String(200), index=True)
    datacenter: Mapped[str] = mapped_column(String(200), index=True)
    decision: Mapped[str] = mapped_column(String(40))
    decided_by: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    topology_version: Mapped[str | None] = mapped_column(String(64))
    predicted_energy_kwh: Mapped[float | None] = mapped_column(Float)
    realised_energy_kwh: Mapped[float | None] = mapped_column(Float)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    copied: Mapped[bool] = mapped_column(Boolean, default=False, index=True)
