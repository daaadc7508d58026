"""From OpenDC's format into the same: a trace folder without the rows that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.traces.convert.common import Converted
from opendt.traces.reader import CARBON, read_trace
from opendt.traces.writer import new_folder, write_carbon, write_power, write_topology, write_workload


def clean_trace(source: Path, dest: Path, *, skip_invalid: bool = False, force: bool = False) -> Converted:
    """Write a trace again, in order and with the columns we read; with ``skip_invalid`` without invalid rows.

    Power and carbon intensity go along, and the topology with its carbon trace named as it is called in the new
    folder. The new folder appears whole or not at all.

    Raises ``TraceError`` for bad rows (with ``skip_invalid`` only when nothing is left) and unusable folders.
    """
    trace = read_trace(source, skip_invalid=skip_invalid)
    with new_folder(dest, force) as folder:
        write_workload(folder, trace.workload)
        if trace.power is not None:
            origin_ms = int(trace.workload.tasks.submission_ms.min())
            write_power(folder, trace.power, _interval_ms(trace.power), origin_ms)
        if trace.carbon is not None:
            write_carbon(folder, trace.carbon)
        if trace.topology is not None:
            write_topology(folder, _with_carbon_beside(trace.topology))
    report = trace.report
    return Converted(dest, report.tasks, report.runnable, report.fragments, report.dropped, report.repaired)


def _interval_ms(power: PowerSeries) -> int:
    """The usual spacing of samples [ms]; 0 for a single one."""
    return int(np.median(np.diff(power.timestamp_ms))) if len(power) > 1 else 0


def _with_carbon_beside(topology: Topology) -> Topology:
    """The topology with the carbon trace that was read under the name it is written with."""
    read = next((c.powerSource.carbonTracePath for c in topology.clusters if c.powerSource.carbonTracePath), None)
    if read is None:
        return topology
    clusters = [
        cluster.model_copy(update={"powerSource": cluster.powerSource.model_copy(update={"carbonTracePath": CARBON})})
        if cluster.powerSource.carbonTracePath == read
        else cluster
        for cluster in topology.clusters
    ]
    return topology.model_copy(update={"clusters": type(topology.clusters)(clusters)})
