"""Our models as OpenDC's files: topology, workload, carbon trace and experiment (SEMANTICS 2 to 4).

Every column has the type and the nullability OpenDC insists on; relative paths work because the program runs in the
folder these files are written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from opendt.engine.base import EngineOptions
from opendt.errors import ConfigError, TopologyError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Battery, Cluster, Gpu, HostType, PowerModel, Topology
from opendt.models.workload import Workload
from opendt.units import MS_PER_S

EXPERIMENT = "experiment.json"
WORKLOAD = "workload"
CARBON = "carbon.parquet"
FAILURES = "failures.parquet"
OUTPUT = "output"
NAME = "run"
_OPENDC_CURVES = ("constant", "sqrt", "linear", "square", "cubic", "mse", "asymptotic")
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Export:
    """One export model: spacing of samples [s] and the tables written."""

    interval_s: int
    files: tuple[str, ...]


def check_supported(topology: Topology, options: EngineOptions, carbon: CarbonTrace | None) -> None:
    """Raise ``TopologyError`` or ``ConfigError`` for what OpenDC cannot simulate or would never finish."""
    if options.sample_interval_ms % MS_PER_S or options.sample_interval_ms <= 0:
        raise ConfigError(
            f"engine.sample_interval_s: {options.sample_interval_ms} ms; OpenDC samples at whole seconds."
        )
    for c, cluster in enumerate(topology.clusters):
        for h, host in enumerate(cluster.hosts):
            for name, model in (("cpuPowerModel", host.cpuPowerModel), ("gpuPowerModel", host.gpuPowerModel)):
                if model is not None and model.modelType not in _OPENDC_CURVES:
                    raise TopologyError(
                        f"clusters[{c}].hosts[{h}].{name}: OpenDC has no power model '{model.modelType}'. Use one of "
                        f"{', '.join(_OPENDC_CURVES)}, or the native engine."
                    )
        if cluster.battery and cluster.battery.batteryPolicy.type in ("runningMedian", "runningQuartiles"):
            raise TopologyError(f"clusters[{c}].battery: OpenDC fails on {cluster.battery.batteryPolicy.type}.")
    if carbon is not None and len(carbon):
        carbon_cluster(topology)


def carbon_cluster(topology: Topology) -> int | None:
    """Index of the cluster that the carbon trace serves: the one whose power source names one, or the only one.

    Raises ``TopologyError`` when several do; OpenDC reads at most one.
    """
    named = [i for i, c in enumerate(topology.clusters) if c.powerSource.carbonTracePath]
    if len(named) > 1:
        raise TopologyError("clusters: more than one power source names a carbonTracePath; OpenDC takes at most one.")
    if named:
        return named[0]
    return 0 if len(topology.clusters) == 1 else None


def topology_json(topology: Topology, carbon: CarbonTrace | None) -> bytes:
    """OpenDC's topology file; the keys it requires are always there, ours that it refuses never."""
    served = carbon_cluster(topology) if carbon is not None and len(carbon) else None
    clusters = [_cluster(c, CARBON if i == served else None) for i, c in enumerate(topology.clusters)]
    return orjson.dumps({"clusters": clusters}, option=orjson.OPT_INDENT_2)


def _cluster(cluster: Cluster, carbon_path: str | None) -> dict[str, Any]:
    source: dict[str, Any] = {"name": cluster.powerSource.name}
    if carbon_path:
        source["carbonTracePath"] = carbon_path
    made: dict[str, Any] = {
        "name": cluster.name, "hosts": [_host(h) for h in cluster.hosts], "powerSource": source,
    }  # fmt: skip
    if cluster.battery:
        made["battery"] = _battery(cluster.battery)
    return made


def _host(host: HostType) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": host.name,
        "count": host.count,
        "cpu": {"coreCount": host.cpu.coreCount, "coreSpeed": host.cpu.coreSpeed, "count": host.cpu.count},
        "memory": {"memorySize": host.memory.memorySize},
        "cpuPowerModel": power_model_json(host.cpuPowerModel),
    }
    if host.gpu:
        made["gpu"] = _gpu(host.gpu)
    if host.gpuPowerModel:
        made["gpuPowerModel"] = power_model_json(host.gpuPowerModel)
    for key in ("cpuDistributionPolicy", "gpuDistributionPolicy"):
        policy = getattr(host, key)
        if policy.type != "MAX_MIN_FAIRNESS":
            made[key] = policy.model_dump(exclude_none=True)
    return made


def power_model_json(model: PowerModel) -> dict[str, Any]:
    """A power model with the keys its type reads."""
    made: dict[str, Any] = {"modelType": model.modelType, "maxPower": model.maxPower, "idlePower": model.idlePower}
    own = {"constant": ("power",), "mse": ("calibrationFactor",), "asymptotic": ("asymUtil", "dvfs")}
    return made | {key: getattr(model, key) for key in own.get(model.modelType, ())}


def _gpu(gpu: Gpu) -> dict[str, Any]:
    made: dict[str, Any] = {
        "count": gpu.count, "coreCount": gpu.coreCount, "coreSpeed": gpu.coreSpeed, "memorySize": gpu.memorySize,
        "virtualizationOverHeadModel": {"type": gpu.virtualizationOverHeadModel.type},
    }  # fmt: skip
    if gpu.virtualizationOverHeadModel.type == "CONSTANT":
        made["virtualizationOverHeadModel"]["percentageOverhead"] = gpu.virtualizationOverHeadModel.percentageOverhead
    return made


def _battery(battery: Battery) -> dict[str, Any]:
    made = battery.model_dump()
    made["batteryPolicy"] = battery.batteryPolicy.model_dump(exclude_none=True)
    return made


def runner_ids(task_id: np.ndarray) -> np.ndarray:
    """int32 ids for OpenDC: ours where they fit, else their row numbers. The largest int32 stays free."""
    fits = len(task_id) == 0 or (int(task_id.min()) >= 0 and int(task_id.max()) < _INT32_MAX)
    return (task_id if fits else np.arange(len(task_id))).astype(np.int32)


def task_table(workload: Workload, ids: np.ndarray) -> pa.Table:
    """OpenDC's task table; optional columns only where some task uses them."""
    tasks = workload.tasks
    columns: dict[str, tuple[pa.DataType, Any, bool]] = {
        "id": (pa.int32(), ids, False),
        "submission_time": (pa.int64(), tasks.submission_ms, False),
        "duration": (pa.int64(), tasks.duration_ms, False),
        "cpu_count": (pa.int32(), tasks.cpu_count, False),
        "cpu_capacity": (pa.float64(), tasks.cpu_capacity_mhz, False),
        "mem_capacity": (pa.int64(), tasks.mem_capacity, False),
        "name": (pa.string(), tasks.name.astype(object), True),
    }
    if tasks.gpu_count.any() or tasks.gpu_capacity_mhz.any():
        columns["gpu_count"] = (pa.int32(), tasks.gpu_count, True)
        columns["gpu_capacity"] = (pa.float64(), tasks.gpu_capacity_mhz, True)
    if tasks.parents:
        columns |= _relations(workload, ids)
    if tasks.deferrable.any():
        natures = np.where(tasks.deferrable, "deferrable", "interactive").astype(object)
        columns["nature"] = (pa.string(), natures, True)
        columns["deadline"] = (pa.int64(), tasks.deadline_ms, True)
    return _table(columns)


def _relations(workload: Workload, ids: np.ndarray) -> dict[str, tuple[pa.DataType, Any, bool]]:
    number = dict(zip(workload.tasks.task_id.tolist(), ids.tolist(), strict=True))
    parents: list[list[int]] = [[] for _ in range(len(ids))]
    children: list[list[int]] = [[] for _ in range(len(ids))]
    row = {task: i for i, task in enumerate(number)}
    for task, above in workload.tasks.parents.items():
        parents[row[task]] = [number[p] for p in above]
        for parent in above:
            children[row[parent]].append(number[task])
    kind = pa.list_(pa.int32())
    return {"parents": (kind, parents, True), "children": (kind, children, True)}


def fragment_table(workload: Workload, ids: np.ndarray) -> pa.Table:
    """OpenDC's fragment table, rows in the order given."""
    fragments = workload.fragments
    order = np.argsort(workload.tasks.task_id, kind="stable")
    row = order[np.searchsorted(workload.tasks.task_id[order], fragments.task_id)]
    columns: dict[str, tuple[pa.DataType, Any, bool]] = {
        "id": (pa.int32(), ids[row], False),
        "duration": (pa.int64(), fragments.duration_ms, False),
        "cpu_usage": (pa.float64(), fragments.cpu_usage_mhz, False),
    }
    if fragments.gpu_usage_mhz.any():
        columns["gpu_usage"] = (pa.float64(), fragments.gpu_usage_mhz, True)
    return _table(columns)


def carbon_table(carbon: CarbonTrace) -> pa.Table:
    """OpenDC's carbon table."""
    return _table({
        "timestamp": (pa.int64(), carbon.timestamp_ms, True),
        "carbon_intensity": (pa.float64(), carbon.intensity_g_per_kwh, True),
    })  # fmt: skip


def _table(columns: dict[str, tuple[pa.DataType, Any, bool]]) -> pa.Table:
    schema = pa.schema([pa.field(name, kind, nullable) for name, (kind, _, nullable) in columns.items()])
    return pa.table([pa.array(values, kind) for kind, values, _ in columns.values()], schema=schema)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file that OpenDC's reader understands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=1)


def experiment_json(
    topologies: Sequence[str], options: EngineOptions, exports: Sequence[Export], runs: int
) -> dict[str, Any]:
    """OpenDC's experiment: every topology with every export model, printing switched off."""
    experiment: dict[str, Any] = {
        "name": NAME,
        "outputFolder": OUTPUT,
        "runs": runs,
        "topologies": [{"pathToFile": path} for path in topologies],
        "workloads": [{"pathToFile": WORKLOAD, "type": "ComputeWorkload", "scalingPolicy": options.scaling}],
        "allocationPolicies": [options.allocation],
        "exportModels": [
            {"exportInterval": e.interval_s, "filesToExport": list(e.files), "printFrequency": None} for e in exports
        ],
        "maxNumFailures": [options.max_failures],
    }
    if options.failures:
        named = {"pathToFile": FAILURES} if "pathToFile" in options.failures else {}
        experiment["failureModels"] = [{**options.failures, **named}]
    if options.checkpoints:
        experiment["checkpointModels"] = [options.checkpoints]
    return experiment
