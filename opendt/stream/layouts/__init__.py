"""The layouts by name: what a producer needs of one, and how a consumer decodes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opendt.models.messages import Record
from opendt.settings import StreamSettings
from opendt.stream import codec
from opendt.stream.envelope import Envelope
from opendt.stream.layouts.columns import ColumnsLayout
from opendt.stream.layouts.opendt_v0 import V0Decoder, V0Layout
from opendt.stream.layouts.opendt_v1 import V1Decoder, V1Layout
from opendt.stream.layouts.planned import PlannedLayout
from opendt.stream.schedule import Replayable

_SENDERS: dict[str, type[PlannedLayout]] = {"columns": ColumnsLayout, "opendt-v1": V1Layout, "opendt-v0": V0Layout}


def layout_of(
    trace: Replayable, settings: StreamSettings, datacenter: str, partitions: Mapping[str, int]
) -> PlannedLayout:
    """The configured layout of a trace; ``partitions`` has the number of partitions of each topic."""
    return _SENDERS[settings.layout](trace, settings, datacenter, partitions)


def decoder_of(settings: StreamSettings) -> Callable[[str, Any, bytes | None, Envelope], tuple[Record, ...]]:
    """The configured layout's decoder: (topic, key, value, envelope) to records; raises ``BadRecord``."""
    if settings.layout == "opendt-v1":
        return V1Decoder(settings)
    if settings.layout == "opendt-v0":
        return V0Decoder(settings)
    return lambda topic, key, value, envelope: (codec.decode(value),)
