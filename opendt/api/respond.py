"""Responses that are cheap to ask for again: negotiated, tagged, kept ready and compressed."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from fastapi import Request
from starlette.responses import Response

from opendt.api.encode import ARROW, CSV, JSON, arrow_bytes, csv_bytes, encode, table_rows

Format = Literal["json", "csv", "arrow"]
MEDIA_TYPES: dict[Format, str] = {"json": JSON, "csv": CSV, "arrow": ARROW}
GZIP_FROM = 1_024  # bytes below which compressing costs more than it saves
STALE_S = 2.0  # how long an older body may stand in while a new one is made


@dataclass(slots=True)
class Body:
    """A response's bytes, with its compressed form once somebody asked for it."""

    data: bytes
    tag: str
    media_type: str
    packed: bytes | None = None

    def size(self) -> int:
        """Bytes held."""
        return len(self.data) + len(self.packed or b"")


@dataclass(slots=True)
class _Kept:
    """The last body of a key, the version it shows, and when that was last known to be the newest."""

    making: threading.Lock = field(default_factory=threading.Lock)
    body: Body | None = None
    version: str = ""
    newest_at: float = float("-inf")


class BodyCache:
    """The last body per key; least recently used keys are dropped beyond a size.

    When a key's version has changed, one thread makes the new body. Others get the one before meanwhile, if it was the
    newest less than ``STALE_S`` ago, and wait otherwise.
    """

    def __init__(self, max_bytes: int = 128 << 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Any, version: str, make: Callable[[], Body], *, fresh: bool = False) -> Body:
        """The body of a key at a version, made if needed; with ``fresh`` never an older one."""
        with self._guard:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            now = self._clock()
            if kept.body is not None and kept.version == version:
                kept.newest_at = now
                return kept.body
            old = kept.body if not fresh and now - kept.newest_at < STALE_S else None
        if not kept.making.acquire(blocking=old is None):
            assert old is not None
            return old
        try:
            if kept.body is None or kept.version != version:
                kept.body, kept.version = make(), version
                kept.newest_at = self._clock()
                self._shrink()
            return kept.body
        finally:
            kept.making.release()

    def _shrink(self) -> None:
        with self._guard:
            sizes = sum(kept.body.size() for kept in self._kept.values() if kept.body)
            while sizes > self._max_bytes and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                sizes -= dropped.body.size() if dropped.body else 0


def chosen_format(request: Request, asked: Format | None) -> Format:
    """The format named by the ``format`` parameter, else by the Accept header, else JSON."""
    if asked is not None:
        return asked
    accept = request.headers.get("accept", "")
    if "text/csv" in accept:
        return "csv"
    return "arrow" if ARROW in accept else "json"


def make_body(
    table: pa.Table, wanted: Format, version: Any, wrap: Callable[[list[dict[str, Any]]], Any] = lambda rows: rows
) -> Body:
    """A table as a body; ``wrap`` puts JSON rows into their envelope."""
    if wanted == "csv":
        data = csv_bytes(table)
    elif wanted == "arrow":
        data = arrow_bytes(table)
    else:
        data = encode(wrap(table_rows(table)))
    return Body(data, tag_of(version, wanted), MEDIA_TYPES[wanted])


def tag_of(*parts: Any) -> str:
    """A weak entity tag (weak, because a compressed answer carries the same one)."""
    return f'W/"{hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()}"'


def send(request: Request, body: Body) -> Response:
    """A body as a response: 304 when the client has it, compressed when the client can read that."""
    headers = {"ETag": body.tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding"}
    if has(request, body.tag):
        return Response(status_code=304, headers=headers)
    data = body.data
    if len(data) >= GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        if body.packed is None:
            body.packed = gzip.compress(data, compresslevel=1, mtime=0)
        data = body.packed
        headers["Content-Encoding"] = "gzip"
    return Response(data, headers=headers, media_type=body.media_type)


def has(request: Request, tag: str) -> bool:
    """Whether the client says it has the entity with this tag."""
    known = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return tag in known or "*" in known


def send_json(request: Request, value: Any) -> Response:
    """A JSON value as a response, tagged by its content."""
    data = encode(value)
    return send(request, Body(data, tag_of(data), JSON))


def wants_fresh(request: Request) -> bool:
    """Whether the client asks for the newest answer, however long it takes (``Cache-Control: no-cache``)."""
    wish = request.headers.get("cache-control", "")
    return "no-cache" in wish or "max-age=0" in wish
