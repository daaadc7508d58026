"""The main job: trace → Kafka → windows → simulation → calibration → lake → proposals."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from prefect import flow

from flows import artifacts
from flows.follow import follow
from flows.heartbeat import heartbeats
from flows.hooks import mark_run
from flows.parameters import PipelineParameters
from flows.progress import Progress
from flows.runtime import begun_ms, default_run_id, run_name, say, warn
from opendt.settings import StreamSettings
from opendt.stream.broker import broker
from opendt.stream.replay_process import ReplayProcess
from opendt.stream.source import open_windows
from opendt.traces.plausible import doubts
from opendt.twin.run import open_session
from opendt.twin.session import TwinSession
from opendt.twin.totals import RunSummary
from opendt.units import MS_PER_S
from tasks.lake import finish_run, record_replay
from tasks.optimize import propose, settle
from tasks.stream import read_trace

interrupted = mark_run(PipelineParameters, "run")
CLOCKS_APART_MS = 300 * MS_PER_S  # this machine's, Prefect's and the broker's


@flow(
    name="pipeline", flow_run_name=run_name("pipeline", "trace"), persist_result=False,
    on_cancellation=[interrupted], on_crashed=[interrupted],
)  # fmt: skip
def pipeline(params: PipelineParameters) -> RunSummary:
    """Replay a trace through Kafka, simulate it window by window, calibrate, propose; results in the lake."""
    settings = params.settings()
    run_id = params.run_id or default_run_id("run")
    since_ms = None if params.run_id else begun_ms() - CLOCKS_APART_MS
    with heartbeats(), artifacts.drawing() as drawing:
        with ExitStack() as stack:
            stream = stack.enter_context(broker(settings.stream))
            embedded = not settings.stream.bootstrap_servers
            replay_id = f"replay-{run_id}"
            send = partial(_sender, params, stream, settings.datacenter, replay_id)
            # A new run's replay starts at once and reads the trace beside us; a known run's has to hear where to go on.
            replay = None if params.run_id else stack.enter_context(send({} if embedded else None))
            trace = read_trace(params.trace, params.topology)
            found = trace.report
            say(
                "Run %s: %s tasks and %s fragments of %s.",
                run_id,
                f"{found.tasks:,}",
                f"{found.fragments:,}",
                trace.name,
            )
            for sentence in found.sentences():
                say("%s.", sentence)
            for question in doubts(trace):
                warn("%s", question[0].upper() + question[1:])
            session = stack.enter_context(open_session(settings, run_id, trace=trace))
            if session.next_index:
                say("Resuming at window %d.", session.next_index)
            replay = replay or stack.enter_context(send(_start(session, replay_id) if embedded else None))
            progress = Progress(artifacts.window_count(trace, settings.windows.length_s), f"Windows of {run_id}")
            source = partial(open_windows, stream, settings.windows, settings.datacenter, replay_id, since_ms=since_ms)
            windows = follow(session, source, progress, settings.prefect, sender=replay)
            session.flush()
            drawing.order(settings.lake, run_id, settings.datacenter, artifacts.FIGURES)
            record_replay(session.lake, replay.wait(60.0).as_dict(), trace.name, run_id)
            proposals = propose(session, trace, run_id)
            summary = finish_run(session, proposals, run_id)
            for note in settle(session, proposals, run_id):
                say("%s.", note)
        progress.done()
        artifacts.publish_run(summary, windows, settings, drawing)
    say("Run %s completed: %d windows, %.1f kWh, %.1f s.", run_id, summary.windows, summary.energy_kwh, summary.wall_s)
    return summary


def _sender(
    params: PipelineParameters, stream: StreamSettings, datacenter: str, replay_id: str,
    start: dict[tuple[str, int], int] | None,
) -> ReplayProcess:  # fmt: skip
    topology = Path(params.topology) if params.topology else None
    return ReplayProcess(Path(params.trace), stream, datacenter, replay_id, start_sequences=start, topology=topology)


def _start(session: TwinSession, replay_id: str) -> dict[tuple[str, int], int]:
    """Where a replay goes on when its broker is new and empty; a real one knows what it has."""
    return session.position.next_sequences(replay_id) if session.position else {}
