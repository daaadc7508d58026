"""The search space: numeric topology properties by path, with bounds.

A path such as ``cpuPowerModel.calibrationFactor`` names a property of every host type; ``H01:cpuPowerModel.idlePower``
that of the host types called H01 only. Values are checked by the topology's own models, so an impossible
combination (maximum below idle) is a failed trial with a reason, never a wrong number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from opendt.errors import ConfigError, OpenDTError, TopologyError
from opendt.models.topology import Topology, parse_topology


@dataclass(frozen=True, slots=True)
class Real:
    """A real property between two bounds, both included; ``log`` searches its logarithm."""

    path: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"{self.path}: bounds {self.low} to {self.high} are not a range. Give low < high.")
        if self.log and self.low <= 0:
            raise ConfigError(f"{self.path}: a logarithmic range must start above 0, not at {self.low}.")

    def contains(self, value: Any) -> bool:
        """Whether a value lies within the bounds."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """A property that takes one of a few values, such as ``cpuPowerModel.modelType``."""

    path: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 1 or len(set(self.values)) != len(self.values):
            raise ConfigError(f"{self.path}: give one or more different values, not {list(self.values)}.")

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the choices."""
        return value in self.values


Dimension = Real | Choice


@dataclass(frozen=True, slots=True)
class Space:
    """Dimensions in a fixed order; their paths are the names of the parameters."""

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        paths = [d.path for d in self.dimensions]
        if not paths or len(set(paths)) != len(paths):
            raise ConfigError(f"a search space needs one or more different paths, not {paths}.")

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` unless every dimension has a value within its bounds, and nothing else is given."""
        wanted = {d.path for d in self.dimensions}
        if set(parameters) != wanted:
            raise ConfigError(f"parameters {sorted(parameters)} do not match the space {sorted(wanted)}.")
        for dimension in self.dimensions:
            value = parameters[dimension.path]
            if not dimension.contains(value):
                raise ConfigError(f"{dimension.path}: {value!r} lies outside {dimension}.", path=dimension.path)


def parse_space(dimensions: Mapping[str, Any]) -> Space:
    """A space from settings: path to ``[low, high]``, ``{low, high, log}`` or ``{values: [...]}``.

    Raises ``ConfigError`` naming the path that cannot be understood.
    """
    return Space(tuple(_dimension(path, value) for path, value in dimensions.items()))


def _dimension(path: str, value: Any) -> Dimension:
    if isinstance(value, list | tuple) and len(value) == 2:
        return Real(path, float(value[0]), float(value[1]))
    if isinstance(value, Mapping) and set(value) == {"values"}:
        return Choice(path, tuple(value["values"]))
    if isinstance(value, Mapping) and {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        return Real(path, float(value["low"]), float(value["high"]), bool(value.get("log", False)))
    raise ConfigError(f"{path}: give [low, high], {{low, high, log}} or {{values: [...]}}, not {value!r}.", path=path)


def with_properties(topology: Topology, parameters: Mapping[str, Any]) -> Topology:
    """The topology with other values at the given paths, checked again.

    Raises:
        TopologyError: no host type has such a property, or the result is physically impossible.
    """
    data = topology.model_dump(mode="json")
    for path, value in parameters.items():
        name, _, dotted = path.rpartition(":")
        hosts = [h for c in data["clusters"] for h in c["hosts"] if not name or h["name"] == name]
        if not hosts:
            raise TopologyError(f"{path}: no host type is called {name}.", path=path)
        for host in hosts:
            _assign(host, path, dotted.split("."), value)
    return parse_topology(data, "topology with " + ", ".join(f"{k}={v}" for k, v in parameters.items()))


def _assign(host: dict[str, Any], path: str, keys: Sequence[str], value: Any) -> None:
    target: Any = host
    for key in keys[:-1]:
        target = target.get(key) if isinstance(target, dict) else None
    if not isinstance(target, dict) or keys[-1] not in target:
        raise TopologyError(
            f"{path}: host type {host['name']} has no such property. Properties look like "
            "cpuPowerModel.calibrationFactor or H01:cpuPowerModel.idlePower.",
            path=path,
        )
    target[keys[-1]] = value


def is_power_path(path: str) -> bool:
    """Whether a property changes only what utilisation costs, not who runs where: no new simulation is needed."""
    return path.rpartition(":")[2].startswith("cpuPowerModel.")


def reason_of(error: OpenDTError) -> str:
    """Why a trial failed, in one line."""
    return error.message.splitlines()[0]
