"""The topology: clusters of hosts with their processors, memory and power models.

Field names in JSON are OpenDC's (``coreSpeed``, ``cpuPowerModel`` ...), so that its files are ours. Numbers may
carry units as text ("2.1 GHz", "128 GB", "0.2 kW"); they are converted here, once. Unknown fields are refused.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from opendt.errors import TopologyError

_UNITS: dict[str, dict[str, float]] = {
    "mhz": {"hz": 1e-6, "khz": 1e-3, "mhz": 1.0, "ghz": 1e3},
    "mib": {
        "b": 2**-20, "bytes": 2**-20, "kb": 1e3 / 2**20, "kib": 2**-10, "mb": 1e6 / 2**20, "mib": 1.0,
        "gb": 1e9 / 2**20, "gib": 2.0**10, "tb": 1e12 / 2**20, "tib": 2.0**20,
    },
    "w": {"w": 1.0, "watt": 1.0, "watts": 1.0, "mw": 1e6, "kw": 1e3},
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]+)\s*")


def _reader(kind: str) -> Any:
    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = _QUANTITY.fullmatch(value)
        factor = _UNITS[kind].get(found.group(2).lower()) if found else None
        if found is None or factor is None:
            raise ValueError(f"'{value}' is not a number with one of the units {', '.join(_UNITS[kind])}")
        return float(found.group(1)) * factor

    return read


Mhz = Annotated[float, BeforeValidator(_reader("mhz")), Field(gt=0, allow_inf_nan=False)]
Mib = Annotated[float, BeforeValidator(_reader("mib")), Field(ge=0, allow_inf_nan=False)]
Watts = Annotated[float, BeforeValidator(_reader("w")), Field(ge=0, allow_inf_nan=False)]


class Model(BaseModel):
    """Base of the boundary models: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Cpu(Model):
    """Processors of one host: ``count`` sockets of ``coreCount`` cores at ``coreSpeed`` MHz."""

    coreCount: int = Field(gt=0)
    coreSpeed: Mhz
    count: int = Field(1, gt=0)
    modelName: str = "unknown"
    vendor: str = "unknown"
    arch: str = "unknown"


class Memory(Model):
    """Memory of one host [MiB]; OpenDC truncates it to an integer."""

    memorySize: Mib
    memorySpeed: float = -1.0
    modelName: str = "unknown"
    vendor: str = "unknown"
    arch: str = "unknown"


PowerModelType = Literal[
    "constant", "sqrt", "linear", "square", "cubic", "mse", "asymptotic", "active", "piecewise"
]  # fmt: skip


class PowerModel(Model):
    """How utilisation becomes watts. Formulas: ``opendt.power.curves``.

    ``active`` and ``piecewise`` are ours; OpenDC has the others. ``stepPower`` [W] is added by ``active`` while a
    host has any load, ``quadraticPower`` [W] scales its u² term. ``levels`` [W] are the watts of ``piecewise`` at
    utilisations evenly spaced from 0 to 1 (first = idle), interpolated linearly.
    """

    modelType: PowerModelType
    power: Watts = 400.0
    maxPower: Watts = 400.0
    idlePower: Watts = 200.0
    calibrationFactor: float = Field(1.0, allow_inf_nan=False)
    asymUtil: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    dvfs: bool = True
    stepPower: Watts = 0.0
    quadraticPower: float = Field(0.0, allow_inf_nan=False)
    levels: tuple[Watts, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> PowerModel:
        if self.maxPower < self.idlePower:
            raise ValueError(f"maxPower {self.maxPower} W is below idlePower {self.idlePower} W")
        if self.modelType == "asymptotic" and self.asymUtil <= 0:
            raise ValueError("asymptotic needs asymUtil above 0 (P(0) would not be a number)")
        if self.modelType == "mse" and self.calibrationFactor <= 0:
            raise ValueError("mse needs a calibrationFactor above 0")
        if self.modelType == "piecewise":
            if len(self.levels) < 2:
                raise ValueError("piecewise needs at least two levels")
            if any(b < a for a, b in zip(self.levels, self.levels[1:], strict=False)):
                raise ValueError("piecewise levels must not decrease")
        return self


DEFAULT_POWER_MODEL = PowerModel(modelType="linear", power=350.0, maxPower=400.0, idlePower=200.0)


class VirtualizationOverhead(Model):
    """GPU virtualisation overhead (OpenDC: NONE, CONSTANT, SHARE_BASED)."""

    type: Literal["NONE", "CONSTANT", "SHARE_BASED"] = "NONE"
    percentageOverhead: float = Field(0.05, ge=0, lt=1)


class Gpu(Model):
    """GPUs of one host."""

    count: int = Field(1, gt=0)
    coreCount: int = Field(gt=0)
    coreSpeed: Mhz
    memorySize: Mib = 0.0
    memoryBandwidth: Any = None
    vendor: str = "unknown"
    modelName: str = "unknown"
    architecture: str = "unknown"
    virtualizationOverHeadModel: VirtualizationOverhead = VirtualizationOverhead()


class DistributionPolicy(Model):
    """How a host shares its capacity among tasks."""

    type: Literal["MAX_MIN_FAIRNESS", "EQUAL_SHARE", "FIRST_FIT", "FIXED_SHARE", "BEST_EFFORT"] = "MAX_MIN_FAIRNESS"
    shareRatio: float | None = Field(None, gt=0, le=1)
    updateIntervalLength: int | None = Field(None, gt=0)


class HostType(Model):
    """``count`` identical hosts."""

    name: str = "Host"
    count: int = Field(1, gt=0)
    cpu: Cpu
    memory: Memory
    cpuPowerModel: PowerModel = DEFAULT_POWER_MODEL
    gpu: Gpu | None = None
    gpuPowerModel: PowerModel | None = None
    cpuDistributionPolicy: DistributionPolicy = DistributionPolicy()
    gpuDistributionPolicy: DistributionPolicy = DistributionPolicy()

    @property
    def cores(self) -> int:
        """Cores of one host."""
        return self.cpu.count * self.cpu.coreCount

    @property
    def capacity_mhz(self) -> float:
        """Processing capacity of one host [MHz]."""
        return self.cores * self.cpu.coreSpeed


class PowerSource(Model):
    """Where a cluster's power comes from, and its carbon trace file."""

    name: str = "PowerSource"
    maxPower: Any = None
    carbonTracePath: str | None = None


class BatteryPolicy(Model):
    """When a battery charges and discharges (SEMANTICS 8.4)."""

    type: Literal["single", "double", "runningMean", "runningMeanPlus", "runningMedian", "runningQuartiles"]
    carbonThreshold: float | None = None
    lowerThreshold: float | None = None
    upperThreshold: float | None = None
    startingThreshold: float | None = None
    windowSize: int | None = Field(None, gt=0)


class Battery(Model):
    """A cluster's battery: capacity and initial charge [kWh], charging speed [W], embodied carbon [kg]."""

    name: str = "Battery"
    capacity: float = Field(gt=0)
    chargingSpeed: Watts
    initialCharge: float = Field(0.0, ge=0)
    batteryPolicy: BatteryPolicy
    embodiedCarbon: float = Field(0.0, ge=0)
    expectedLifetime: float = Field(0.0, ge=0)


class Cluster(Model):
    """Hosts behind one power source. ``count`` is accepted and ignored, as in OpenDC."""

    name: str = "Cluster"
    count: int = 1
    hosts: tuple[HostType, ...]
    powerSource: PowerSource = PowerSource()
    battery: Battery | None = None


class Topology(Model):
    """A datacenter."""

    clusters: tuple[Cluster, ...]

    @property
    def host_count(self) -> int:
        """Number of hosts over all clusters."""
        return sum(h.count for c in self.clusters for h in c.hosts)

    @property
    def core_count(self) -> int:
        """Number of cores over all hosts."""
        return sum(h.count * h.cores for c in self.clusters for h in c.hosts)

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits that name the content: equal topologies have equal versions."""
        content = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()[:12]

    def to_json(self) -> bytes:
        """OpenDC's JSON, defaults left out."""
        return orjson.dumps(self.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_INDENT_2)


def parse_topology(data: Any, where: str = "topology") -> Topology:
    """A checked topology from decoded JSON.

    Raises ``TopologyError`` naming the field path of the first problem and how many there are.
    """
    try:
        return Topology.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "(root)"
        more = f" ({error.error_count() - 1} more problems)" if error.error_count() > 1 else ""
        raise TopologyError(f"{where}: {path}: {first['msg']}{more}. Fix the topology file.", field=path) from None


def load_topology(path: Path) -> Topology:
    """A checked topology from a JSON file; raises ``TopologyError`` naming file and field."""
    try:
        data = orjson.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise TopologyError(f"{path}: no such file. Give an OpenDC topology with --topology.") from None
    except (orjson.JSONDecodeError, OSError) as error:
        raise TopologyError(f"{path}: cannot be read as JSON ({error}). Fix the topology file.") from None
    return parse_topology(data, str(path))
