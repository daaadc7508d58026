"""ISO 8601 times as the older systems write and read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from opendt.stream.envelope import BadRecord
from opendt.stream.fields import MAX_TIME_MS
from opendt.units import datetime_to_ms, ms_to_datetime


def naive(time_ms: int) -> str:
    """Without offset, as pandas prints a time without zone: ``2022-10-06T22:00:00``."""
    return ms_to_datetime(time_ms).replace(tzinfo=None).isoformat()


def with_offset(time_ms: int) -> str:
    """With offset, as Python prints an aware time: ``2022-10-06T22:00:00+00:00``."""
    return ms_to_datetime(time_ms).isoformat()


def with_z(time_ms: int) -> str:
    """With ``Z``, as pydantic prints an aware time: ``2022-10-06T22:00:00Z``."""
    return with_offset(time_ms).replace("+00:00", "Z")


def parse(value: Any, name: str) -> int:
    """Epoch ms of ISO 8601 text (no offset means UTC) or a number of ms. Raises ``BadRecord``."""
    try:
        if type(value) is str:
            moment = datetime.fromisoformat(value)
            time_ms = datetime_to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        elif type(value) is int or type(value) is float:
            time_ms = round(value)
        else:
            raise ValueError("neither text nor number")
    except (ValueError, OverflowError):
        raise BadRecord(f"{name} is {str(value)[:60]!r}, must be an ISO 8601 time or epoch ms") from None
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise BadRecord(f"{name} is {str(value)[:60]!r}, must be a time from 1970 to 9999")
    return time_ms
