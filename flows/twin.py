"""Telemetry from Kafka, simulated and calibrated window by window, for as long as it comes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from prefect import flow

from flows import artifacts
from flows.follow import follow
from flows.heartbeat import heartbeats
from flows.hooks import mark_run
from flows.parameters import TwinParameters
from flows.progress import Progress
from flows.runtime import default_run_id, run_name, say
from flows.share import Worker, stopped_by_signals
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.models.topology import load_topology
from opendt.settings import Settings
from opendt.stream.source import open_windows
from opendt.twin.run import open_session
from opendt.twin.totals import RunSummary
from tasks.lake import finish_run
from tasks.optimize import settle

interrupted = mark_run(TwinParameters, "twin")


@flow(
    name="twin", flow_run_name=run_name("twin", "datacenter"), persist_result=False,
    on_cancellation=[interrupted], on_crashed=[interrupted],
)  # fmt: skip
def twin(params: TwinParameters) -> RunSummary | list[RunSummary]:
    """Consume telemetry from Kafka, simulate and calibrate window by window; results in the lake.

    Ends with the stream, after ``max_windows``, or when it is cancelled; the same run id goes on from there. With
    ``share`` it is one of several twins, and returns the totals of the datacenters that ended with it.
    """
    settings = params.settings()
    if not settings.stream.bootstrap_servers:
        raise InputError(
            "the twin needs a Kafka to listen to: set KAFKA_BOOTSTRAP_SERVERS or the parameter 'kafka'. To replay a "
            "trace with the embedded broker use the flow `pipeline`."
        )
    if params.share:
        return _share(params, settings)
    run_id = params.run_id or default_run_id("twin")
    topology = load_topology(Path(params.topology)) if params.topology else None
    with heartbeats(), open_session(settings, run_id, topology=topology, kind="twin") as session:
        say("Run %s listens to %s from window %d on.", run_id, settings.stream.bootstrap_servers, session.next_index)
        source = partial(open_windows, settings.stream, settings.windows, settings.datacenter, params.replay_id or None)
        progress = Progress(params.max_windows, f"Windows of {run_id}")
        windows = follow(session, source, progress, settings.prefect, max_windows=params.max_windows)
        summary = finish_run(session, [], run_id)
        for note in settle(session, [], run_id):
            say("%s.", note)
    progress.done()
    artifacts.publish_run(summary, windows, settings)
    return summary


def _share(params: TwinParameters, settings: Settings) -> list[RunSummary]:
    topologies = {name: load_topology(Path(file or params.topology)) for name, file in params.share.items()}
    with heartbeats(), stopped_by_signals() as stop, Lake.open(settings.lake) as lake:
        say("Run %s: sharing %s.", params.run_id, ", ".join(topologies))
        summaries = Worker(settings, lake, params.run_id, topologies).run(stop)
    for summary in summaries:
        artifacts.publish_run(summary, [], settings.model_copy(update={"datacenter": summary.datacenter}))
    return summaries
