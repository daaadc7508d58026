"""What each flow can be given: the form in the Prefect UI, checked there and here by the same models.

A value left empty is taken from the configuration, so that a form filled in halfway means what it shows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from opendt.settings import Settings, Speed, load_settings

# What people fill in comes first in a form; what they rarely touch, last.
FIRST = ("trace", "run_id", "speed", "engine", "calibration", "optimize", "window_length_s", "topology", "max_windows",
         "strategy", "budget", "days", "heldout_h", "method", "trials", "publish", "keep_days", "out",
         "port")  # fmt: skip
LAST = ("replay_id", "kafka", "datacenter", "lake", "config", "overrides")


def _in_order(schema: dict[str, Any]) -> None:
    properties = schema.get("properties", {})
    middle = [name for name in properties if name not in FIRST + LAST]
    schema["properties"] = {name: properties[name] for name in (*FIRST, *middle, *LAST) if name in properties}


RUN_ID_PATTERN = r"^[A-Za-z0-9._-]{0,80}$"
DATACENTER_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
LATEST = "latest"


def _id(value: str) -> str:
    if not re.fullmatch(RUN_ID_PATTERN, value):
        raise ValueError(f"{value[:100]!r} is no id; letters, digits, '.', '_' and '-' are allowed, at most 80 of them")
    return value


def _no_keyword(value: str) -> str:
    if value == LATEST:
        raise ValueError(f"a run cannot be called '{LATEST}': where runs are looked up, that means the newest one")
    return value


# Ids of runs and replays; empty where there is none. The form checks the pattern, the function says what is wrong.
Id = Annotated[str, Field(json_schema_extra={"pattern": RUN_ID_PATTERN}), AfterValidator(_id)]
OwnRunId = Annotated[Id, AfterValidator(_no_keyword)]
CONFIGURED = "as configured"


class Parameters(BaseModel):
    """What every flow takes: where settings come from and where results go."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_in_order)

    config: str = Field(
        "", title="Configuration file", description="YAML file with settings; empty for the defaults and environment."
    )
    lake: str = Field("", title="Lake", description="Folder of the lake; empty for the one configured.")
    datacenter: str = Field(
        "", title="Datacenter", pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="Identifier of the datacenter; empty for the one configured.",
    )  # fmt: skip
    overrides: dict[str, Any] = Field(
        default_factory=dict, title="Other settings",
        description='Settings by dotted name, stronger than the configuration, e.g. {"calibration.grid_points": 20}.',
    )  # fmt: skip

    def settings(self) -> Settings:
        """The resolved settings. Raises ``ConfigError``."""
        return load_settings(Path(self.config) if self.config else None, {**self._named(), **self.overrides})

    def _named(self) -> dict[str, Any]:
        return {"lake.path": self.lake or None, "datacenter": self.datacenter or None}


class StreamParameters(Parameters):
    """What flows take that talk to Kafka."""

    kafka: str = Field(
        "", title="Kafka brokers",
        description="host:port,...; empty for the brokers configured, or an embedded broker where there are none.",
    )  # fmt: skip

    replay_id: Id = Field(
        "", title="Replay id",
        description="Identifies one replay on the stream. Empty: a new one where records are sent, all where they are "
        "read.",
    )  # fmt: skip

    def _named(self) -> dict[str, Any]:
        return super()._named() | {"stream.bootstrap_servers": self.kafka or None}


class RunParameters(StreamParameters):
    """A run of the twin: its identity and how it simulates."""

    run_id: OwnRunId = Field(
        "", title="Run id",
        description="Empty for a new run. The id of an earlier run resumes it at its first uncommitted window.",
    )  # fmt: skip
    topology: str = Field(
        "", title="Topology file", description="JSON file in OpenDC's format; empty for the trace's own topology."
    )
    engine: Literal["as configured", "native", "opendc"] = Field(
        "as configured", title="Engine", description="Simulator: our own (native) or the OpenDC experiment runner."
    )
    window_length_s: int = Field(
        0, ge=0, le=30 * 86_400, title="Window length [s]",
        description="Length of a window in trace time; 0 for the one configured (an hour by default).",
    )  # fmt: skip
    calibration: Literal["as configured", "off", "grid", "bayesian", "online"] = Field(
        "as configured", title="Calibration", description="How the power model is calibrated after each window."
    )
    optimize: Literal["as configured", "off", "rules", "bayesian", "random", "llm", "tournament"] = Field(
        "as configured", title="Proposals", description="Who proposes a better topology at the end of the run."
    )

    def _named(self) -> dict[str, Any]:
        return super()._named() | {
            "engine.name": _chosen(self.engine),
            "windows.length_s": self.window_length_s or None,
            "calibration.mode": _chosen(self.calibration),
            "optimize.strategy": _chosen(self.optimize),
        }


class ReplayParameters(StreamParameters):
    """Send a recorded trace into Kafka."""

    trace: str = Field(
        ..., min_length=1, title="Trace",
        description="Folder with tasks.parquet and fragments.parquet and, where known, consumption.parquet, "
        "carbon.parquet and topology.json.",
    )  # fmt: skip
    speed: Speed = Field(
        -1.0, json_schema_extra={"minimum": -1}, title="Speed",
        description="Trace seconds per second: 1 is real time, 300 an hour in 12 s, -1 as fast as possible.",
    )  # fmt: skip

    def _named(self) -> dict[str, Any]:
        given = {"stream.speed": self.speed} if "speed" in self.model_fields_set else {}
        return super()._named() | given


class TwinParameters(RunParameters):
    """Consume live telemetry from Kafka, window by window."""

    max_windows: int = Field(
        0, ge=0, title="Windows", description="Stop after this many windows; 0 to go on until the stream ends."
    )
    share: dict[str, str] = Field(
        default_factory=dict, title="Shared datacenters",
        description="For one of several twins that share them: each datacenter and its topology file, empty for the "
        "one above. All are started with the same run id and the same list.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _shared_as_a_whole(self) -> TwinParameters:
        if not self.share:
            return self
        if not self.run_id:
            raise ValueError("twins that share datacenters need a run id, the same for all of them")
        if self.max_windows or self.datacenter or self.replay_id:
            raise ValueError("max_windows, datacenter and replay_id are for a single twin, not with share")
        for name, file in self.share.items():
            if not re.fullmatch(DATACENTER_PATTERN, name):
                raise ValueError(f"share: {name!r} is no datacenter; letters, digits, '.', '_' and '-' are allowed")
            if not (file or self.topology):
                raise ValueError(f"share: {name} has no topology file, and there is none for all")
        return self


class PipelineParameters(ReplayParameters, RunParameters):
    """Everything at once: replay a trace, simulate, calibrate, propose."""


class MaintainParameters(Parameters):
    """Compact the lake and forget old snapshots."""

    keep_days: float | None = Field(
        None, gt=0, title="Keep [days]", description="Age at which snapshots expire; empty for the age configured."
    )


class ReportParameters(Parameters):
    """Write the report of a run."""

    run_id: str = Field("latest", min_length=1, title="Run id", description="Run to report on; latest for the newest.")
    out: str = Field(
        "", title="Folder", description="Where to write; empty for reports/ and the run id in the lake."
    )  # fmt: skip


class OptimizeParameters(Parameters):
    """Look for a topology that meets the objectives with less energy."""

    trace: str = Field("", title="Trace", description="Folder of a trace; leave empty when a run id is given.")
    run_id: Id = Field("", title="Run id", description="A run in the lake; leave empty when a trace is given.")
    strategy: Literal["as configured", "rules", "bayesian", "random", "llm", "tournament"] = Field(
        "as configured", title="Strategy", description="Who proposes; tournament gives each the same budget."
    )
    budget: int = Field(
        0, ge=0, le=100_000, title="Simulations", description="Simulations per strategy; 0 for the number configured."
    )

    def _named(self) -> dict[str, Any]:
        return super()._named() | {
            "optimize.strategy": _chosen(self.strategy),
            "optimize.budget": self.budget or None,
        }


class ServeApiParameters(Parameters):
    """Serve the REST API and the dashboard."""

    port: int = Field(0, ge=0, le=65535, title="Port", description="Port to serve on; 0 for the one configured.")

    def _named(self) -> dict[str, Any]:
        return super()._named() | {"api.port": self.port or None}


class CalibrateParameters(StreamParameters):
    """Fit the power models to the last days of a run."""

    days: float = Field(7.0, gt=0, le=366, title="History [days]", description="Days of trace time to learn from.")
    heldout_h: float = Field(
        24.0,
        gt=0,
        le=24 * 31,
        title="Held out [h]",
        description="Last hours, kept aside to compare with the model in force.",
    )
    method: Literal["online", "bayesian", "random", "grid"] = Field(
        "online", title="Method",
        description="online fits curves by least squares; the others search parameters, and this is how they choose.",
    )  # fmt: skip
    trials: int = Field(
        0, ge=0, le=100_000, title="Trials", description="Parameter sets a search tries; 0 for the number configured."
    )
    publish: bool = Field(
        True, title="Publish", description="Put the result in force and tell the twin, if it is better beyond noise."
    )
    least_gain_points: float = Field(
        0.05, ge=0.05, le=100, title="Least gain [points]", description="Smallest gain in MAPE that is worth a change."
    )
    of_run: Id = Field("", title="Run to learn from", description="Empty for the datacenter's latest run.")

    def _named(self) -> dict[str, Any]:
        return super()._named() | {"calibration.trials": self.trials or None}


class NightlyParameters(CalibrateParameters):
    """Calibrate, compare, publish or keep, report, tidy."""

    once_per_h: float = Field(
        12.0, ge=0, le=24 * 31, title="Once per [h]",
        description="Do nothing if a night completed within so many hours, so that missed ones are caught up once.",
    )  # fmt: skip
    out: str = Field("", title="Folder", description="Where to write the report; empty for reports/ in the lake.")


def _chosen(value: str) -> str | None:
    return None if value == CONFIGURED else value
