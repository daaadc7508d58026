"""Runs small enough for tests, made by the twin itself: a synthetic cluster, no broker, no server."""

from __future__ import annotations

from pathlib import Path

from opendt.settings import Settings, load_settings
from opendt.traces.reader import read_trace
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.twin.run import open_session, proposals_for
from opendt.windows.cut import cut_windows


def tiny_trace(folder: Path, *, days: float = 0.5, hosts: int = 6) -> Path:
    """A trace of half a day on six hosts."""
    make_trace(folder, SyntheticOptions(days=days, hosts=hosts, seed=3))
    return folder


def tiny_run(trace: Path, lake: Path, run_id: str, *, stop_after: int | None = None, **overrides: object) -> Settings:
    """Run the twin over a trace into a lake; left running after ``stop_after`` windows when that is given."""
    settings = load_settings(None, {"lake.path": lake, **overrides}, environment={})
    read = read_trace(trace)
    with open_session(settings, run_id, trace=read) as session:
        for batch in cut_windows(read.workload, read.power, settings.windows.length_s * 1000):
            if batch.index == stop_after:
                session.flush()
                return settings
            session.process(batch)
        session.flush()
        session.finish(proposals_for(session, read))
    return settings
