"""Responses that are cheap to ask for again: negotiated, tagged, kept ready and compressed."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from fastapi import Request
from starlette.responses import Response

from opendt.api.encode import ARROW, CSV, JSON, arrow_bytes, csv_bytes, encode, table_rows

Format = Literal["json", "csv", "arrow"]
MEDIA_TYPES: dict[Format, str] = {"json": JSON, "csv": CSV, "arrow": ARROW}
GZIP_FROM = 1_024  # bytes below which compressing costs more than it saves


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


class BodyCache:
    """Bodies by key, least recently used dropped beyond a size; one thread makes a body, others wait for it."""

    def __init__(self, max_bytes: int = 128 << 20) -> None:
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[Any, Body] = OrderedDict()
        self._making: dict[Any, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, key: Any, make: Callable[[], Body]) -> Body:
        """The body of a key, made if needed."""
        with self._guard:
            if key in self._bodies:
                self._bodies.move_to_end(key)
                return self._bodies[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._guard:
                if key in self._bodies:
                    return self._bodies[key]
            try:
                body = make()
                self._keep(key, body)
                return body
            finally:
                with self._guard:
                    self._making.pop(key, None)

    def _keep(self, key: Any, body: Body) -> None:
        with self._guard:
            self._bodies[key] = body
            while sum(b.size() for b in self._bodies.values()) > self._max_bytes and len(self._bodies) > 1:
                self._bodies.popitem(last=False)


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
