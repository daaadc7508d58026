"""What arrived in one event-time window: the unit that the twin simulates and commits."""

from __future__ import annotations

from dataclasses import dataclass, field

from opendt.models.messages import DeadLetter, LateRecord, StreamPosition
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Workload

__all__ = ["DeadLetter", "LateRecord", "StreamPosition", "WindowBatch"]


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """Everything whose event time lies in the half-open window [start_ms, end_ms).

    Attributes:
        index: number of the window within the run; consecutive, empty windows included.
        workload: tasks submitted in the window ordered by (submission, order in the source), tasks without
            fragments among them; fragment chunks that begin in it, those of one task in execution order.
        power: readings ordered by time.
        topology: topology announced by the last message in the window, or None; in force from the next window on.
        position: what to commit together with the window's results; passing it to ``open_windows`` goes on
            with the next window.
        late: records of closed windows met since the previous batch.
        dead: records that could not be understood, met since the previous batch.
        duplicates: records dropped since the previous batch because their sequence number had been seen.
        ignored: records of other replays or datacenters skipped since the previous batch.
        filled_fragments: fragments put in place of ones that never came (their chunk is among the dead letters).
        last: whether the stream ended in this window.
    """

    index: int
    start_ms: int
    end_ms: int
    workload: Workload
    power: PowerSeries
    topology: Topology | None
    position: StreamPosition
    late: list[LateRecord] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    duplicates: int = 0
    ignored: int = 0
    filled_fragments: int = 0
    last: bool = False
