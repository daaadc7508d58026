"""Responses that are cheap to ask for again: negotiated, tagged, kept ready and compressed.

A long body is kept in parts. When a run has committed another window, the parts in front are as before: only what
changed is encoded and compressed again. Deflate streams can be joined where they were flushed completely.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from fastapi import Request
from starlette.responses import Response

from opendt.api.encode import ARROW, CSV, JSON, arrow_bytes, csv_bytes, encode, is_simple, table_rows, with_text_times
from opendt.lake.reader import Commit

Format = Literal["json", "csv", "arrow"]
MEDIA_TYPES: dict[Format, str] = {"json": JSON, "csv": CSV, "arrow": ARROW}
GZIP_FROM = 1_024  # bytes below which compressing costs more than it saves
GZIP_LEVEL = 1  # a week of power: a quarter of its size; higher levels take three times as long for a tenth less
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
PART_ROWS = 1_024
NEVER = Commit(-1, -1)


class Part:
    """A piece of a body, with its compressed form once somebody asked for it."""

    __slots__ = ("deflated", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.deflated: bytes | None = None

    def deflate(self) -> bytes:
        """The piece as deflate blocks that refer to nothing before them and end at a whole byte."""
        if self.deflated is None:
            squeeze = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            self.deflated = squeeze.compress(self.text) + squeeze.flush(zlib.Z_FULL_FLUSH)
        return self.deflated


@dataclass(slots=True)
class Body:
    """A response's bytes in parts; ``table`` has the rows of the parts, ``PART_ROWS`` each, if any."""

    parts: tuple[Part, ...]
    tag: str
    media_type: str
    table: pa.Table | None = None
    _packed: bytes | None = None
    _packing: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, data: bytes, tag: str, media_type: str) -> Body:
        """A body in one part."""
        return cls((Part(data),), tag, media_type)

    @property
    def data(self) -> bytes:
        """The bytes."""
        return self.parts[0].text if len(self.parts) == 1 else b"".join(part.text for part in self.parts)

    def is_long(self) -> bool:
        """Whether compressing pays."""
        return sum(len(part.text) for part in self.parts) >= GZIP_FROM

    def packed(self) -> bytes:
        """The bytes as a gzip file; made once."""
        with self._packing:
            if self._packed is None:
                crc, size = 0, 0
                for part in self.parts:
                    crc, size = zlib.crc32(part.text, crc), size + len(part.text)
                tail = b"\x03\x00" + crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
                self._packed = b"".join([GZIP_HEAD, *(part.deflate() for part in self.parts), tail])
            return self._packed

    def size(self) -> int:
        """Bytes held."""
        held = sum(len(part.text) + len(part.deflated or b"") for part in self.parts) + len(self._packed or b"")
        return held + (self.table.nbytes if self.table is not None else 0)


@dataclass(slots=True)
class _Kept:
    """The last body of a key, the version it shows, and the commit as of which it does."""

    making: threading.Lock = field(default_factory=threading.Lock)
    body: Body | None = None
    version: str = ""
    at: Commit = NEVER


Make = Callable[[Body | None], Body]


class BodyCache:
    """The last body per key; least recently used keys are dropped beyond a size.

    When a key's version has changed, one thread makes the new body and those who ask meanwhile wait for it.
    """

    def __init__(self, max_bytes: int = 128 << 20) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Any, version: str, at: Commit, make: Make) -> Body:
        """The body of a key at a version, which is the newest as of a commit; made if needed, from the one before."""
        with self._guard:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            if kept.body is not None and kept.version == version:
                return kept.body
        with kept.making:
            newer = kept.at.lake == at.lake and kept.at.number >= at.number
            if kept.body is None or (kept.version != version and not newer):
                kept.body = make(kept.body)
                kept.version, kept.at = version, at
                self._shrink()
            return kept.body

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
    return Body.of(data, tag_of(version, wanted), MEDIA_TYPES[wanted])


def make_long_body(
    table: pa.Table, wanted: Format, version: Any, metadata: dict[str, Any], before: Body | None
) -> Body:
    """A table as a body: JSON rows as ``data`` beside ``metadata``, or CSV, or Arrow.

    Parts whose rows are those of the body before are taken from it. Times are whole seconds.
    """
    tag, media_type = tag_of(version, wanted), MEDIA_TYPES[wanted]
    if wanted == "arrow" or not all(is_simple(f.type) or pa.types.is_timestamp(f.type) for f in table.schema):
        return make_body(table, wanted, version, lambda rows: {"data": rows, "metadata": metadata})
    if wanted == "csv":
        head, tail = csv_bytes(with_text_times(table.slice(0, 0))), b""
    else:
        head, tail = b'{"data":[', b'],"metadata":' + encode(metadata) + b"}"
    parts = [_part(table, wanted, start, before) for start in range(0, table.num_rows, PART_ROWS)]
    return Body((Part(head), *parts, Part(tail)), tag, media_type, table)


def _part(table: pa.Table, wanted: Format, start: int, before: Body | None) -> Part:
    rows = table.slice(start, PART_ROWS)
    if before is not None and before.table is not None and before.table.slice(start, PART_ROWS).equals(rows):
        return before.parts[1 + start // PART_ROWS]
    rows = with_text_times(rows)
    if wanted == "csv":
        return Part(csv_bytes(rows, header=False))
    return Part((b"," if start else b"") + encode(table_rows(rows))[1:-1])


def tag_of(*parts: Any) -> str:
    """A weak entity tag (weak, because a compressed answer carries the same one)."""
    return f'W/"{hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()}"'


def send(request: Request, body: Body) -> Response:
    """A body as a response: 304 when the client has it, compressed when the client can read that."""
    headers = {"ETag": body.tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding"}
    if has(request, body.tag):
        return Response(status_code=304, headers=headers)
    if body.is_long() and "gzip" in request.headers.get("accept-encoding", ""):
        data = body.packed()
        headers["Content-Encoding"] = "gzip"
    else:
        data = body.data
    return Response(data, headers=headers, media_type=body.media_type)


def has(request: Request, tag: str) -> bool:
    """Whether the client says it has the entity with this tag."""
    known = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return tag in known or "*" in known


def send_json(request: Request, value: Any) -> Response:
    """A JSON value as a response, tagged by its content."""
    data = encode(value)
    return send(request, Body.of(data, tag_of(data), JSON))
