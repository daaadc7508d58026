"""Bodies kept ready: made once per version, by one thread, old ones only for a moment."""

from __future__ import annotations

import threading

import pytest

from opendt.api.respond import STALE_S, Body, BodyCache


def body(text: str, size: int = 1) -> Body:
    return Body(text.encode() * size, f'W/"{text}"', "text/plain")


def test_a_version_is_made_once() -> None:
    cache, made = BodyCache(), []
    for version in ("1", "1", "2", "2"):
        found = cache.get("key", version, lambda version=version: made.append(version) or body(version))
        assert found.data == version.encode()
    assert made == ["1", "2"]


def test_failure_is_not_kept() -> None:
    cache = BodyCache()
    with pytest.raises(ValueError, match="broken"):
        cache.get("key", "1", lambda: (_ for _ in ()).throw(ValueError("broken")))
    assert cache.get("key", "1", lambda: body("fine")).data == b"fine"


@pytest.mark.parametrize(
    ("age_s", "fresh", "expected"),
    [(STALE_S / 2, False, b"1"), (STALE_S * 2, False, b"2"), (STALE_S / 2, True, b"2")],
)
def test_who_comes_while_a_new_version_is_made(age_s: float, fresh: bool, expected: bytes) -> None:
    now = [0.0]
    cache = BodyCache(clock=lambda: now[0])
    cache.get("key", "1", lambda: body("1"))
    now[0] = age_s
    making, go = threading.Event(), threading.Event()

    def slowly() -> Body:
        making.set()
        assert go.wait(10)
        return body("2")

    maker = threading.Thread(target=cache.get, args=("key", "2", slowly))
    maker.start()
    assert making.wait(10)
    if expected == b"2":
        threading.Timer(0.05, go.set).start()
    assert cache.get("key", "2", lambda: body("never"), fresh=fresh).data == expected
    go.set()
    maker.join(10)
    assert cache.get("key", "2", lambda: body("never")).data == b"2"


def test_least_recently_used_bodies_make_room() -> None:
    cache, made = BodyCache(max_bytes=250), []

    def get(key: str) -> None:
        cache.get(key, "1", lambda: made.append(key) or body("x", 100))

    for key in ("a", "b", "a", "c", "a", "b"):
        get(key)
    assert made == ["a", "b", "c", "b"]
