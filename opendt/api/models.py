"""Bodies of requests, and of the responses whose shape is a promise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel

from opendt.settings import Speed


class Request(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class JsonObject(RootModel[dict[str, Any]]):
    """An object whose fields the description of its route tells."""


class Page(BaseModel):
    """A part of a list."""

    items: list[dict[str, Any]] = Field(description="Rows; columns as in the lake (GET /api/sql/tables).")
    total: int = Field(description="Items there are in all.")
    limit: int
    offset: int


class PowerPoint(BaseModel):
    """Simulated and measured power in one interval."""

    timestamp: str = Field(examples=["2022-10-07T00:00:00Z"])
    simulated_power: float = Field(description="Simulated power [W].", examples=[21_431.5])
    actual_power: float | None = Field(description="Measured power [W]; null without any measurement.")


class PowerResponse(BaseModel):
    """Power over time, in the older API's words."""

    data: list[PowerPoint]
    metadata: dict[str, Any]


class CarbonPoint(BaseModel):
    """Emission rate in one interval."""

    timestamp: str = Field(examples=["2022-10-07T00:00:00Z"])
    carbon_intensity: float = Field(description="Carbon intensity [gCO2/kWh].")
    power_draw: float = Field(description="Simulated power [W].")
    carbon_emission: float = Field(description="Emission rate [gCO2/h].")


class CarbonResponse(BaseModel):
    """Emission over time, in the older API's words."""

    data: list[CarbonPoint]
    metadata: dict[str, Any]


class Series(BaseModel):
    """A time series: rows and what they are about."""

    data: list[dict[str, Any]]
    metadata: dict[str, Any]


class HeatMap(BaseModel):
    """One value per host and time."""

    times: list[str]
    hosts: list[dict[str, Any]]
    values: list[list[float | None]] = Field(description="Per host one value per time.")
    metadata: dict[str, Any]


class SloRequest(Request):
    """Targets in the older API's words."""

    energy_target: float = Field(
        gt=0, allow_inf_nan=False, description="Energy target of a run [kWh].", examples=[3_500]
    )
    runtime_target: float = Field(gt=0, allow_inf_nan=False, description="Runtime target of a run [h].", examples=[168])


def _no_keyword(run_id: str) -> str:
    if run_id == "latest":
        raise ValueError("a run cannot be called 'latest': where runs are looked up, that means the newest one")
    return run_id


class StartRequest(Request):
    """What to replay; the configured trace when empty."""

    trace: str | None = Field(None, max_length=1_000, description="Folder of the trace on the server.")
    speed: Speed | None = Field(None, description="Trace seconds per second; -1 as fast as possible.", examples=[300])
    run_id: Annotated[str, AfterValidator(_no_keyword)] = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,80}$", description="Empty for a new run; a known one resumes it."
    )


class RecommendationRequest(Request):
    """A topology to put in force instead of the recommended one."""

    topology: dict[str, Any] | None = Field(None, description="Topology in OpenDC's format.")


class DecisionRequest(Request):
    """Who decides, and why."""

    decided_by: str = Field("api", min_length=1, max_length=200, examples=["ann"])
    reason: str = Field("", max_length=10_000, examples=["saves energy and keeps the deadline"])
    force: bool = Field(False, description="Approve although another topology came into force since.")


class RollbackRequest(Request):
    """Which topology to go back to."""

    version: str | None = Field(None, max_length=64, description="The one before the active one when left out.")
    decided_by: str = Field("api", min_length=1, max_length=200)
    reason: str = Field("", max_length=10_000)


class VariantBody(Request):
    """A changed topology."""

    name: str = Field("", max_length=200, examples=["20 hosts fewer"])
    changes: dict[str, Any] = Field(
        default_factory=dict,
        max_length=100,
        description="Path to value.",
        examples=[{"clusters[0].hosts[0].count": 257}],
    )
    allocation: str | dict[str, Any] | None = Field(
        None, description="Allocation policy, by name or as OpenDC's object."
    )


class WhatIfRequest(Request):
    """Variants to simulate beside the present topology, on the workload of a run."""

    run_id: str = Field("latest", min_length=1, max_length=200)
    datacenter: str | None = Field(None, max_length=200)
    variants: list[VariantBody] = Field(min_length=1, max_length=20)
    start_time: str | None = Field(
        None, max_length=64, description="Only tasks submitted from this time on (ISO 8601)."
    )
    end_time: str | None = Field(None, max_length=64, description="Only work before this time (ISO 8601).")
    last_hours: float | None = Field(
        None, gt=0, le=24 * 366, allow_inf_nan=False, description="Only the last hours the run has seen.", examples=[24]
    )


class SqlRequest(Request):
    """One read-only statement."""

    sql: str = Field(max_length=100_000, examples=["SELECT * FROM latest_run"])
    max_rows: int | None = Field(None, ge=1, le=100_000, description="Most rows; lake.sql_max_rows when left out.")
    timeout_s: float | None = Field(None, gt=0, le=600, description="Longest time [s]; at most lake.sql_timeout_s.")


class SqlResponse(BaseModel):
    """Rows of a statement."""

    columns: list[dict[str, str]] = Field(description="Name and type of each column.")
    rows: list[list[Any]]
    truncated: bool = Field(description="Whether there were more rows.")
    elapsed_s: float


class Health(BaseModel):
    """Whether the server lives. What it depends on is told, not judged; /ready judges."""

    status: Literal["healthy"]
    kafka: Literal["connected", "disconnected", "not configured"]
    config: Literal["loaded"]
    version: str
    uptime_s: float


class Ready(BaseModel):
    """Whether the server can do its work, and what is missing."""

    status: Literal["ready", "not ready"]
    checks: dict[str, dict[str, Any]]
