"""Stands in for Java running OpenDC: checks the files it is given against OpenDC's rules, then replays a recording.

It never simulates. What it does beyond replaying is told by the control file: crash, memory, disk, hang, garbage,
missing, unfinished, killed, refuse (fails at the topology whose text contains ``needle``).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

TASKS = {"id": "INT32", "submission_time": "INT64", "duration": "INT64", "cpu_count": "INT32",
         "cpu_capacity": "DOUBLE", "mem_capacity": "INT64"}  # fmt: skip
FRAGMENTS = {"id": "INT32", "duration": "INT64", "cpu_usage": "DOUBLE"}
OPTIONAL = {"name", "gpu_count", "gpu_capacity", "gpu_usage", "parents", "children", "nature", "deadline"}
EXPERIMENT = {"name", "outputFolder", "initialSeed", "runs", "topologies", "workloads", "allocationPolicies",
              "exportModels", "failureModels", "checkpointModels", "maxNumFailures"}  # fmt: skip
HOST = {"name", "count", "cpu", "memory", "cpuPowerModel", "gpu", "gpuPowerModel", "cpuDistributionPolicy",
        "gpuDistributionPolicy"}  # fmt: skip
POWER = {"modelType", "power", "maxPower", "idlePower", "calibrationFactor", "asymUtil", "dvfs"}


def refuse(why):
    sys.stderr.write(f'Exception in thread "main" java.lang.IllegalArgumentException: {why}\n\tat org.opendc.Main\n')
    sys.exit(1)


def check_parquet(path, required):
    schema = pq.ParquetFile(path).schema
    found = {}
    for i in range(len(schema)):
        column = schema.column(i)
        found[column.path.split(".")[0]] = column
    for name, kind in required.items():
        column = found.get(name) or refuse(f"{path.name} lacks {name}")
        if column.physical_type != kind:
            refuse(f"{path.name}: {name} is {column.physical_type}, expected {kind}")
        if column.max_definition_level != 0:
            refuse(f"{path.name}: {name} is optional")
    if set(found) - set(required) - OPTIONAL:
        refuse(f"{path.name}: unknown column in {sorted(found)}")


def check_keys(what, value, allowed, required):
    if set(value) - set(allowed) or set(required) - set(value):
        refuse(f"{what} has keys {sorted(value)}")


def check_topology(path):
    topology = json.loads(path.read_text())
    check_keys("topology", topology, {"clusters"}, {"clusters"})
    for cluster in topology["clusters"]:
        check_keys("cluster", cluster, {"name", "count", "hosts", "powerSource", "battery"}, {"hosts"})
        source = cluster.get("powerSource", {})
        check_keys("powerSource", source, {"name", "maxPower", "carbonTracePath"}, ())
        if "carbonTracePath" in source:
            pq.read_table(source["carbonTracePath"], columns=["timestamp", "carbon_intensity"])
        for host in cluster["hosts"]:
            check_keys("host", host, HOST, {"cpu", "memory"})
            check_keys("cpu", host["cpu"], {"coreCount", "coreSpeed", "count"}, {"coreCount", "coreSpeed"})
            check_keys("power model", host["cpuPowerModel"], POWER, {"modelType", "maxPower", "idlePower"})


def main():
    control_file = Path(os.environ["STAND_IN_CONTROL"])
    control = dict(line.split("=", 1) for line in control_file.read_text().splitlines())
    with open(control_file.parent / "calls", "a") as calls:
        calls.write("call\n")
    if "org.opendc.experiments.base.runner.ExperimentCli" not in sys.argv:
        refuse("no main class")
    experiment = json.loads(Path(sys.argv[sys.argv.index("--experiment-path") + 1]).read_text())
    check_keys("experiment", experiment, EXPERIMENT, {"topologies", "workloads"})
    misbehave(control["behaviour"], control)
    for workload in experiment["workloads"]:
        check_parquet(Path(workload["pathToFile"]) / "tasks.parquet", TASKS)
        check_parquet(Path(workload["pathToFile"]) / "fragments.parquet", FRAGMENTS)
    index = 0
    for topology in experiment["topologies"]:
        path = Path(topology["pathToFile"])
        if control["behaviour"] == "refuse" and control["needle"] in path.read_text():
            refuse("maxPower is below idlePower")
        check_topology(path)
        for export in experiment["exportModels"]:
            write(experiment, index, export, control)
            index += 1


def misbehave(behaviour, control):
    if behaviour == "crash":
        sys.stderr.write("Simulating... 0%\rException in thread \"main\" java.lang.RuntimeException: outer\n\tat x.Y\n"
                         "Caused by: java.io.IOException: first file is odd.\n\tat x.Z\n")  # fmt: skip
        sys.exit(1)
    if behaviour == "memory":
        sys.stderr.write("java.lang.OutOfMemoryError: Java heap space\n")
        sys.exit(1)
    if behaviour == "disk":
        sys.stderr.write("Caused by: java.io.IOException: No space left on device\n")
        sys.exit(1)
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "hang":
        child = subprocess.Popen(["sleep", "60"])
        Path(control["pids"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(60)


def write(experiment, index, export, control):
    for seed in range(experiment.get("runs", 1)):
        folder = Path(experiment["outputFolder"], experiment["name"], "raw-output", str(index), f"seed={seed}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in export["filesToExport"]:
            target = folder / f"{name}.parquet"
            if control["behaviour"] == "missing" and name == "service":
                continue
            if control["behaviour"] == "unfinished":
                target.write_bytes(b"PAR1")
            elif control["behaviour"] == "garbage":
                target.write_bytes(b"PAR1 this is no Parquet file PAR1")
            else:
                shutil.copyfile(Path(control["recording"]) / target.name, target)


main()
