"""The policy objects of OpenDC's experiment format: allocation, failures, checkpoints, exports.

Strict as OpenDC is: an unknown key, type or name is an error (SEMANTICS 2, 7, 10). ``as_options`` gives the plain
object that ``EngineOptions`` carries, defaults written out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Strict(BaseModel):
    """Frozen, unknown keys refused, numbers not read from text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def as_options(self) -> dict[str, Any]:
        """The object as plain JSON values, defaults included."""
        return self.model_dump(mode="json")


def unique(values: Any) -> Any:
    """The values of a JSON array without repetitions, first ones kept in order; OpenDC reads arrays as sets."""
    if not isinstance(values, list | tuple):
        return values
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return tuple(kept)


PrefabName = Literal[
    "Mem", "MemInv", "CoreMem", "CoreMemInv", "ActiveServers", "ActiveServersInv", "ProvisionedCores",
    "ProvisionedCoresInv", "Random", "TaskNumMemorizing", "Timeshift", "ProvisionedCpuGpuCores",
    "ProvisionedCpuGpuCoresInv",
]  # fmt: skip


class PrefabPolicy(Strict):
    """A policy by name (SEMANTICS 7.3)."""

    type: Literal["prefab"]
    policyName: PrefabName = "Mem"


class PlainFilter(Strict):
    """A host filter without parameters."""

    type: Literal["Compute", "VCpuCapacity", "SameHost", "DifferentHost"]


class RatioFilter(Strict):
    """A host filter with an overcommit ratio."""

    type: Literal["VCpu", "Ram"]
    allocationRatio: float = Field(1.0, gt=0, allow_inf_nan=False)


class LimitFilter(Strict):
    """Hosts with fewer running tasks than ``limit``."""

    type: Literal["InstanceCount"]
    limit: int


HostFilter = Annotated[PlainFilter | RatioFilter | LimitFilter, Field(discriminator="type")]


class Weigher(Strict):
    """A host weigher; hosts with the largest weighted sum win (SEMANTICS 7.4)."""

    type: Literal["Ram", "CoreRam", "InstanceCount", "VCpu", "VCpuCapacity"]
    multiplier: float = Field(1.0, allow_inf_nan=False)


COMPUTE_FILTER = PlainFilter(type="Compute")


class FilterPolicy(Strict):
    """Filters, then weighers, then a draw among the best ``subsetSize`` (SEMANTICS 7.4)."""

    type: Literal["filter"]
    filters: tuple[HostFilter, ...] = Field((COMPUTE_FILTER,), strict=False)
    weighers: tuple[Weigher, ...] = Field((), strict=False)
    subsetSize: int = Field(1, gt=0)


class TaskStopper(Strict):
    """Pauses running tasks in high-carbon periods."""

    windowSize: int = 168
    forecast: bool = True
    forecastThreshold: float = 0.6
    forecastSize: int = 24


class TimeshiftPolicy(Strict):
    """Delays deferrable tasks in high-carbon periods (SEMANTICS 10.4)."""

    type: Literal["timeshift"]
    filters: tuple[HostFilter, ...] = Field((COMPUTE_FILTER,), strict=False)
    weighers: tuple[Weigher, ...] = Field((), strict=False)
    windowSize: int = 168
    subsetSize: int = Field(1, gt=0)
    forecast: bool = True
    shortForecastThreshold: float = 0.2
    longForecastThreshold: float = 0.35
    forecastSize: int = 24
    taskStopper: TaskStopper | None = None
    memorize: bool = True


AllocationPolicy = Annotated[PrefabPolicy | FilterPolicy | TimeshiftPolicy, Field(discriminator="type")]


_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "exponential": ("mean",),
    "gamma": ("shape", "scale"),
    "log-normal": ("scale", "shape"),
    "normal": ("mean", "std"),
    "pareto": ("scale", "shape"),
    "uniform": ("upper", "lower"),
    "weibull": ("alpha", "beta"),
}


class NoFailures(Strict):
    """No failures, spelled out."""

    type: Literal["no"]


class TraceFailures(Strict):
    """Failures from a Parquet trace (SEMANTICS 10.1)."""

    type: Literal["trace-based"]
    pathToFile: str
    startPoint: float = Field(0.0, ge=0, le=1)
    repeat: bool = True


class PrefabFailures(Strict):
    """Failures from one of OpenDC's fitted distributions, for example ``G5k06Exp``."""

    type: Literal["prefab"]
    prefabName: str = Field(
        pattern=r"^(G5k06|Lanl05|Ldns04|Microsoft99|Nd07cpu|Overnet03|Pl05|Skype06|Websites02)(Exp|Wbl|LogN|Gam)$"
    )


class CustomFailures(Strict):
    """Failures from three distributions: time between, duration [h], share of hosts."""

    type: Literal["custom"]
    iatSampler: dict[str, Any]
    durationSampler: dict[str, Any]
    nohSampler: dict[str, Any]

    @field_validator("iatSampler", "durationSampler", "nohSampler")
    @classmethod
    def _known(cls, sampler: dict[str, Any]) -> dict[str, Any]:
        names = _DISTRIBUTIONS.get(sampler.get("type", ""))
        if names is None:
            raise ValueError(f"type must be one of {', '.join(_DISTRIBUTIONS)}")
        if set(sampler) != {"type", *names}:
            raise ValueError(f"{sampler['type']} takes exactly {' and '.join(names)}")
        if not all(isinstance(sampler[name], int | float) for name in names):
            raise ValueError(f"{' and '.join(names)} must be numbers")
        return sampler


FailureModel = Annotated[
    NoFailures | TraceFailures | PrefabFailures | CustomFailures, Field(discriminator="type")
]  # fmt: skip


class CheckpointModel(Strict):
    """Snapshots of running tasks (SEMANTICS 10.2); times in ms."""

    checkpointInterval: int = Field(3_600_000, gt=0)
    checkpointDuration: int = Field(300_000, ge=0)
    checkpointIntervalScaling: float = Field(1.0, gt=0)


Exported = Literal["host", "task", "powerSource", "battery", "service"]
ALL_FILES: tuple[Exported, ...] = ("host", "task", "powerSource", "battery", "service")


class ComputeExportConfig(Strict):
    """Columns to write per table; None writes all."""

    hostExportColumns: tuple[str, ...] | None = Field(None, strict=False)
    taskExportColumns: tuple[str, ...] | None = Field(None, strict=False)
    powerSourceExportColumns: tuple[str, ...] | None = Field(None, strict=False)
    batteryExportColumns: tuple[str, ...] | None = Field(None, strict=False)
    serviceExportColumns: tuple[str, ...] | None = Field(None, strict=False)


class ExportModel(Strict):
    """What is written, and how often [s]."""

    exportInterval: int = Field(300, gt=0)
    filesToExport: tuple[Exported, ...] = Field(ALL_FILES, strict=False)
    printFrequency: int | None = 24
    computeExportConfig: ComputeExportConfig = ComputeExportConfig()
