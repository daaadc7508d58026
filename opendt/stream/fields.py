"""Fields of JSON messages, checked: type, range, length; what is wrong is said in the reason."""

from __future__ import annotations

from array import array
from typing import Any

import orjson

from opendt.stream.envelope import BadRecord

MAX_TIME_MS = 253_402_300_799_999  # the last moment of the year 9999
MAX_DURATION_MS = 10 * 365 * 86_400_000
MAX_NUMBER = 1e15
MAX_COUNT = 2**31 - 1
MAX_CHUNK = 100_000
MAX_NAME = 256


def parse_object(value: bytes | None) -> dict[str, Any]:
    """A JSON object. Raises ``BadRecord``."""
    if value is None:
        raise BadRecord("empty record")
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise BadRecord(f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRecord(f"a JSON object is expected, not {type(data).__name__}")
    return data


def show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def integer(data: dict[str, Any], name: str, low: int, high: int) -> int:
    """A whole number within bounds. Raises ``BadRecord``."""
    value = data.get(name)
    if type(value) is not int or not low <= value <= high:
        raise BadRecord(f"{name} is {show(value)}, must be a whole number from {low} to {high}")
    return value


def number(data: dict[str, Any], name: str) -> float:
    """A number that is not negative, as float. Raises ``BadRecord``."""
    value = data.get(name)
    if (type(value) is not float and type(value) is not int) or not 0 <= value <= MAX_NUMBER:
        raise BadRecord(f"{name} is {show(value)}, must be a number from 0 to {MAX_NUMBER:g}")
    return float(value)


def boolean(data: dict[str, Any], name: str) -> bool:
    """True or false. Raises ``BadRecord``."""
    value = data.get(name)
    if type(value) is not bool:
        raise BadRecord(f"{name} is {show(value)}, must be true or false")
    return value


def text(data: dict[str, Any], name: str) -> str:
    """A short text that is not empty. Raises ``BadRecord``."""
    value = data.get(name)
    if type(value) is not str or not 0 < len(value) <= MAX_NAME:
        raise BadRecord(f"{name} is {show(value)}, must be a text of 1 to {MAX_NAME} characters")
    return value


def integer_column(data: dict[str, Any], name: str, count: int, high: int) -> int | array[int]:
    """A column of ``count`` whole numbers, or one for all. Raises ``BadRecord``."""
    values = data.get(name)
    if type(values) is not list:
        return integer(data, name, 0, high)
    try:
        column = array("q", values)
    except (TypeError, OverflowError):
        raise BadRecord(f"{name} must hold whole numbers from 0 to {high}") from None
    _check_column(column, name, count, high)
    return column


def number_column(data: dict[str, Any], name: str, count: int) -> float | array[float]:
    """A column of ``count`` numbers, or one for all. Raises ``BadRecord``."""
    values = data.get(name)
    if type(values) is not list:
        return number(data, name)
    try:
        column = array("d", values)
    except TypeError:
        raise BadRecord(f"{name} must hold numbers from 0 to {MAX_NUMBER:g}") from None
    _check_column(column, name, count, MAX_NUMBER)
    return column


def _check_column(column: array[Any], name: str, count: int, high: float) -> None:
    if len(column) != count:
        raise BadRecord(f"{name} has {len(column)} values for {count} fragments")
    low, top = min(column), max(column)
    if low < 0 or top > high:
        raise BadRecord(f"{name} holds {low if low < 0 else top}, must be from 0 to {high:g}")
