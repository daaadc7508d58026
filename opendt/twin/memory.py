"""What the twin remembers between windows besides the engine's state, as bytes for the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import orjson

from opendt.errors import LakeError
from opendt.models.messages import StreamPosition
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology, parse_topology
from opendt.twin.totals import Totals

VERSION = 1


def no_readings() -> PowerSeries:
    """A power series without readings."""
    return PowerSeries(np.zeros(0, np.int64), np.zeros(0))


@dataclass(slots=True)
class Memory:
    """State of a twin after its last committed window.

    Attributes:
        topology: topology in force in the next window.
        totals: running totals.
        calibrator: the calibrator's own bytes; empty before the first window.
        position: where the stream goes on; None before the first window.
        pending: readings that belong to a sample of the next window.
        last_reading_w: last value measured, None before the first.
        previous_sample_ms: time of the last sample, None before the first.
        next_index: number of the next window.
    """

    topology: Topology
    totals: Totals = field(default_factory=Totals)
    calibrator: bytes = b""
    position: StreamPosition | None = None
    pending: PowerSeries = field(default_factory=no_readings)
    last_reading_w: float | None = None
    previous_sample_ms: int | None = None
    next_index: int = 0

    def to_bytes(self) -> bytes:
        """All of it as JSON."""
        return orjson.dumps(
            {
                "version": VERSION,
                "topology": self.topology.model_dump(mode="json"),
                "totals": self.totals.to_dict(),
                "calibrator": self.calibrator.decode(),
                "position": self.position.to_json() if self.position else None,
                "pending": [self.pending.timestamp_ms, self.pending.power_w],
                "last_reading_w": self.last_reading_w,
                "previous_sample_ms": self.previous_sample_ms,
                "next_index": self.next_index,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Memory:
        """Memory from ``to_bytes``. Raises ``LakeError`` when another version of OpenDT wrote it."""
        values = orjson.loads(data)
        if values.get("version") != VERSION:
            raise LakeError(
                f"the run's checkpoint has format {values.get('version')}, this OpenDT reads {VERSION}. "
                "Start a new run, or go on with the version that wrote it.",
                version=values.get("version"),
            )
        times, watts = values["pending"]
        return cls(
            topology=parse_topology(values["topology"], "checkpoint"),
            totals=Totals.from_dict(values["totals"]),
            calibrator=values["calibrator"].encode(),
            position=StreamPosition.from_json(values["position"]) if values["position"] else None,
            pending=PowerSeries(np.array(times, np.int64), np.array(watts, np.float64)),
            last_reading_w=values["last_reading_w"],
            previous_sample_ms=values["previous_sample_ms"],
            next_index=values["next_index"],
        )
