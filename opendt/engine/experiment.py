"""OpenDC's experiment files: strict models, their scenarios, and the inputs of a scenario.

The format is OpenDC's (SEMANTICS 2): unknown keys are errors, arrays are sets whose repetitions are dropped, and one
scenario is run per element of the cartesian product. Relative paths are those of the experiment file's own folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from opendt.engine.base import EngineOptions
from opendt.engine.experiment_policies import (
    AllocationPolicy,
    CheckpointModel,
    ExportModel,
    FailureModel,
    PrefabPolicy,
    Strict,
    TraceFailures,
    unique,
)
from opendt.errors import InputError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology, load_topology
from opendt.models.workload import Workload
from opendt.traces.reader import read_trace
from opendt.traces.telemetry import read_carbon
from opendt.units import datetime_to_ms

_DEFER_FACTOR = 3  # deferAll: deadline = submission + 3 x duration


class TopologyRef(Strict):
    """A topology file."""

    pathToFile: str


class WorkloadRef(Strict):
    """A workload folder and how to read it."""

    pathToFile: str
    type: Literal["ComputeWorkload"]
    scalingPolicy: Literal["NoDelay", "Perfect"] = "NoDelay"
    submissionTime: str | None = None
    sampleFraction: float = Field(1.0, gt=0, le=1)
    deferAll: bool = False

    @field_validator("submissionTime")
    @classmethod
    def _local_date_time(cls, text: str | None) -> str | None:
        if text is None:
            return None
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None or "T" not in text:
            raise ValueError("must be a local date-time without zone, like 2022-10-06T22:00")
        return text

    @property
    def submission_ms(self) -> int | None:
        """Epoch time [ms] of the earliest submission asked for, None to leave times as they are."""
        return None if self.submissionTime is None else datetime_to_ms(datetime.fromisoformat(self.submissionTime))


def _set_of(kind: Any) -> Any:
    return Annotated[tuple[kind, ...], BeforeValidator(unique), Field(min_length=1, strict=False)]


DEFAULT_POLICY = PrefabPolicy(type="prefab", policyName="Mem")


class Experiment(Strict):
    """An experiment file."""

    name: str = "unnamed-simulation"
    outputFolder: str = "output"
    initialSeed: int = 0
    runs: int = Field(1, gt=0)
    topologies: _set_of(TopologyRef)  # type: ignore[valid-type]
    workloads: _set_of(WorkloadRef)  # type: ignore[valid-type]
    allocationPolicies: _set_of(AllocationPolicy) = (DEFAULT_POLICY,)  # type: ignore[valid-type]
    exportModels: _set_of(ExportModel) = (ExportModel(),)  # type: ignore[valid-type]
    failureModels: _set_of(FailureModel | None) = (None,)  # type: ignore[valid-type]
    checkpointModels: _set_of(CheckpointModel | None) = (None,)  # type: ignore[valid-type]
    maxNumFailures: _set_of(int) = (10,)  # type: ignore[valid-type]

    @field_validator(
        "topologies", "workloads", "allocationPolicies", "exportModels", "failureModels", "checkpointModels",
        "maxNumFailures",
    )  # fmt: skip
    @classmethod
    def _as_set(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Entries that differ in spelling only (a default written out) are the same entry."""
        return unique(values)

    def scenarios(self, folder: Path) -> list[Scenario]:
        """All scenarios in OpenDC's order (topology slowest), paths resolved against ``folder``."""
        dimensions = product(
            self.topologies, self.workloads, self.allocationPolicies, self.exportModels, self.failureModels,
            self.checkpointModels, self.maxNumFailures,
        )  # fmt: skip
        return [Scenario(index, folder, *choice) for index, choice in enumerate(dimensions)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One element of the cartesian product; ``index`` names its folder below ``raw-output``."""

    index: int
    folder: Path
    topology: TopologyRef
    workload: WorkloadRef
    allocation: AllocationPolicy
    export: ExportModel
    failures: Any
    checkpoints: CheckpointModel | None
    max_failures: int

    @property
    def topology_path(self) -> Path:
        """The topology file."""
        return self.folder / self.topology.pathToFile

    @property
    def workload_path(self) -> Path:
        """The folder of ``tasks.parquet`` and ``fragments.parquet``."""
        return self.folder / self.workload.pathToFile

    @property
    def export_interval_ms(self) -> int:
        """Spacing of samples [ms]."""
        return self.export.exportInterval * 1_000

    @property
    def deterministic(self) -> bool:
        """False where OpenDC draws from unseeded generators, so that no two runs agree."""
        return self.failures is None or self.failures.type == "no" or isinstance(self.failures, TraceFailures)

    def options(self, seed: int = 0) -> EngineOptions:
        """What to simulate and record; files in it are absolute paths."""
        return EngineOptions(
            sample_interval_ms=self.export_interval_ms,
            host_every=1 if "host" in self.export.filesToExport else 0,
            task_rows="task" in self.export.filesToExport,
            scaling=self.workload.scalingPolicy,
            allocation=self.allocation.as_options(),
            failures=self._failure_options(),
            checkpoints=self.checkpoints.as_options() if self.checkpoints else None,
            max_failures=self.max_failures,
            seed=seed,
        )

    def _failure_options(self) -> dict[str, Any] | None:
        if self.failures is None or self.failures.type == "no":
            return None
        options: dict[str, Any] = self.failures.as_options()
        if isinstance(self.failures, TraceFailures):
            options["pathToFile"] = str((self.folder / self.failures.pathToFile).resolve())
        return options


@dataclass(frozen=True, slots=True)
class ScenarioInputs:
    """Everything an engine needs for one scenario."""

    topology: Topology
    workload: Workload
    carbon: CarbonTrace | None
    options: EngineOptions


def read_experiment(path: Path) -> Experiment:
    """A checked experiment file.

    Raises ``InputError`` naming file and field for what OpenDC refuses, and for what it reads but cannot repeat
    (``sampleFraction`` below 1 draws tasks with an unseeded generator).
    """
    try:
        data = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. An OpenDC scenario folder holds experiment.json.") from None
    except (orjson.JSONDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}). Fix the experiment file.") from None
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(root)"
        raise InputError(f"{path}: {field}: {first['msg']}. Fix the experiment file.", field=field) from None
    for workload in experiment.workloads:
        if workload.sampleFraction < 1:
            raise InputError(
                f"{path}: workloads: sampleFraction {workload.sampleFraction} draws tasks with an unseeded generator "
                "and cannot be repeated. Use 1.0 and sample the trace beforehand."
            )
    return experiment


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of an experiment file; its folder is where relative paths start."""
    return read_experiment(path).scenarios(path.parent)


def load_inputs(scenario: Scenario, seed: int = 0) -> ScenarioInputs:
    """Topology, workload, carbon trace and options of a scenario, read and checked.

    Raises ``InputError`` (``TopologyError``, ``TraceError``) naming the file and what is wrong.
    """
    topology = load_topology(scenario.topology_path)
    workload = read_trace(scenario.workload_path).workload
    if scenario.workload.submission_ms is not None:
        workload = shifted(workload, scenario.workload.submission_ms)
    if scenario.workload.deferAll:
        workload = _deferred(workload)
    return ScenarioInputs(topology, workload, _carbon(topology, scenario), scenario.options(seed))


def shifted(workload: Workload, first_ms: int) -> Workload:
    """The workload moved in time so that the earliest task that has fragments is submitted at ``first_ms`` [epoch ms].

    Tasks without fragments do not count, as in OpenDC, which drops them before it moves the others.
    """
    tasks = workload.tasks
    if not workload.runnable.any():
        return workload
    by = first_ms - int(tasks.submission_ms[workload.runnable].min())
    deadline = np.where(tasks.deadline_ms == -1, -1, tasks.deadline_ms + by)
    return replace(workload, tasks=replace(tasks, submission_ms=tasks.submission_ms + by, deadline_ms=deadline))


def _deferred(workload: Workload) -> Workload:
    tasks = workload.tasks
    deadline = tasks.submission_ms + _DEFER_FACTOR * tasks.duration_ms
    return replace(workload, tasks=replace(tasks, deferrable=np.ones(len(tasks), np.bool_), deadline_ms=deadline))


def _carbon(topology: Topology, scenario: Scenario) -> CarbonTrace | None:
    """The carbon trace the topology names: as named, else under that file name beside the topology."""
    named = [c.powerSource.carbonTracePath for c in topology.clusters if c.powerSource.carbonTracePath]
    if not named:
        return None
    if len(named) > 1:
        raise InputError(f"{scenario.topology_path}: several clusters name a carbon trace; OpenDC reads at most one.")
    places = [scenario.folder / named[0], scenario.topology_path.parent / Path(named[0]).name]
    found = next((place for place in places if place.is_file()), places[0])
    return read_carbon(found, skip_invalid=False)[0]
