"""Query parameters that several routes share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Query

from opendt.api.context import epoch_ms
from opendt.api.respond import Format
from opendt.api.series import Span

RunId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        description="A run, or `latest` for the one started last that has committed a window (else just started last).",
        examples=["latest"],
    ),
]
DatacenterQuery = Annotated[
    str | None, Query(max_length=200, description="Datacenter; the configured one, or the run's, when left out.")
]
Limit = Annotated[int, Query(ge=1, le=1_000, description="Most items.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000, description="Items to skip.")]
FormatQuery = Annotated[
    Format | None, Query(alias="format", description="json, csv or arrow; the Accept header decides when left out.")
]
StartTime = Annotated[datetime | None, Query(description="Only from this time on (ISO 8601).")]
EndTime = Annotated[datetime | None, Query(description="Only before this time (ISO 8601).")]


async def _span(
    interval_seconds: Annotated[int, Query(ge=1, le=604_800, description="Length of a bucket [s].")] = 60,
    start_time: StartTime = None,
    end_time: EndTime = None,
) -> Span:
    return Span(interval_seconds, epoch_ms(start_time), epoch_ms(end_time))


async def _coarse_span(
    interval_seconds: Annotated[int, Query(ge=1, le=604_800, description="Length of a bucket [s].")] = 3_600,
    start_time: StartTime = None,
    end_time: EndTime = None,
) -> Span:
    return Span(interval_seconds, epoch_ms(start_time), epoch_ms(end_time))


SpanQuery = Annotated[Span, Depends(_span)]
CoarseSpanQuery = Annotated[Span, Depends(_coarse_span)]
