"""Bodies kept ready: made once per version, by one thread, from the parts that have not changed."""

from __future__ import annotations

import gzip
import threading
from typing import Any

import orjson
import pyarrow as pa
import pytest

from opendt.api.respond import PART_ROWS, Body, BodyCache, Format, make_body, make_long_body
from opendt.lake.reader import Commit


def body(text: str, size: int = 1) -> Body:
    return Body.of(text.encode() * size, f'W/"{text}"', "text/plain")


def at(number: int) -> Commit:
    return Commit(1, number)


def test_a_version_is_made_once() -> None:
    cache, made = BodyCache(), []
    for number, version in enumerate(("1", "1", "2", "2")):
        found = cache.get("key", version, at(number), lambda _, version=version: made.append(version) or body(version))
        assert found.data == version.encode()
    assert made == ["1", "2"]


def test_failure_is_not_kept() -> None:
    cache = BodyCache()
    with pytest.raises(ValueError, match="broken"):
        cache.get("key", "1", at(1), lambda _: (_ for _ in ()).throw(ValueError("broken")))
    assert cache.get("key", "1", at(1), lambda _: body("fine")).data == b"fine"


def test_who_comes_while_a_new_version_is_made_waits_for_it() -> None:
    cache, made = BodyCache(), []
    cache.get("key", "1", at(1), lambda _: body("1"))
    making, go = threading.Event(), threading.Event()

    def slowly(before: Body | None) -> Body:
        assert before is not None
        made.append(before.data)
        making.set()
        assert go.wait(10)
        return body("2")

    found: list[bytes] = []
    askers = [
        threading.Thread(target=lambda: found.append(cache.get("key", "2", at(2), slowly).data)) for _ in range(4)
    ]
    for asker in askers:
        asker.start()
    assert making.wait(10)
    go.set()
    for asker in askers:
        asker.join(10)
    assert found == [b"2"] * 4
    assert made == [b"1"]


def test_who_asked_earlier_gets_the_newer_body_that_is_there() -> None:
    cache = BodyCache()
    cache.get("key", "2", at(2), lambda _: body("2"))
    assert cache.get("key", "1", at(1), lambda _: body("1")).data == b"2"
    assert cache.get("key", "1", Commit(2, 1), lambda _: body("other lake")).data == b"other lake"


def test_least_recently_used_bodies_make_room() -> None:
    cache, made = BodyCache(max_bytes=250), []

    def get(key: str) -> None:
        cache.get(key, "1", at(1), lambda _: made.append(key) or body("x", 100))

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "b"]


def rows(count: int, changed: int | None = None) -> pa.Table:
    values = [None if n % 7 == 0 else n + 0.25 for n in range(count)]
    if changed is not None:
        values[changed] = -1.0
    return pa.table({"time": [f"t{n}" for n in range(count)], "value": pa.array(values, pa.float64())})


def long_body(table: pa.Table, wanted: Format = "json", before: Body | None = None) -> Body:
    return make_long_body(table, wanted, "v", {"count": table.num_rows}, before)


@pytest.mark.parametrize("count", [0, 1, PART_ROWS - 1, PART_ROWS, PART_ROWS + 1, 3 * PART_ROWS])
def test_parts_joined_are_the_whole(count: int) -> None:
    table = rows(count)
    whole: dict[str, Any] = {"data": table.to_pylist(), "metadata": {"count": count}}
    assert orjson.loads(long_body(table).data) == whole
    assert long_body(table, "csv").data == make_body(table, "csv", "v").data
    assert long_body(table, "arrow").data == make_body(table, "arrow", "v").data
    for wanted in ("json", "csv"):
        made = long_body(table, wanted)
        assert gzip.decompress(made.packed()) == made.data


@pytest.mark.parametrize("wanted", ["json", "csv"])
def test_only_parts_that_changed_are_made_again(wanted: Format) -> None:
    first = long_body(rows(3 * PART_ROWS + 5), wanted)
    first.packed()
    grown = rows(3 * PART_ROWS + 9, changed=PART_ROWS + 1)
    second = long_body(grown, wanted, first)
    same = [new is old for new, old in zip(second.parts[1:-1], first.parts[1:-1], strict=True)]
    assert same == [True, False, True, False]
    assert second.data == long_body(grown, wanted).data
    assert gzip.decompress(second.packed()) == second.data


def test_other_columns_are_another_body() -> None:
    first = long_body(rows(10))
    other = rows(10).rename_columns(["time", "watts"])
    assert orjson.loads(long_body(other, before=first).data)["data"][1] == {"time": "t1", "watts": 1.25}


@pytest.mark.parametrize("wanted", ["json", "csv"])
def test_times_are_written_as_iso_8601(wanted: Format) -> None:
    times = pa.array([0, 1_665_100_800_000_000], pa.timestamp("us", "UTC"))
    data = long_body(pa.table({"time": times, "value": [1.5, 2.5]}), wanted).data.decode()
    assert "1970-01-01T00:00:00Z" in data
    assert "2022-10-07T00:00:00Z" in data
