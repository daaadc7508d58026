"""The dashboard's files, kept in memory: compressed once, tagged by content, cached by browsers as long as they may be.

Files below ``assets/`` carry a hash of their content in their name, so a browser never has to ask for them again; the
page that names them is asked for every time, and answered with 304 when it is the same.
"""

from __future__ import annotations

import hashlib
import mimetypes
import threading
import zlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from opendt.api.respond import GZIP_FROM, has

INDEX = "index.html"
FOREVER = "public, max-age=31536000, immutable"
ASK = "no-cache"
TEXTS = ("text/", "image/svg", "application/json", "application/javascript")


class File:
    """A file's bytes, its type and its tag; compressed when somebody first asks for that."""

    def __init__(self, path: Path, cache: str) -> None:
        self.data = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.packable = len(self.data) >= GZIP_FROM and kind.startswith(TEXTS)
        self.media_type = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        self.tag = f'W/"{hashlib.blake2b(self.data, digest_size=12).hexdigest()}"'
        self.cache = cache
        self._packed: bytes | None = None
        self._packing = threading.Lock()

    def packed(self) -> bytes:
        """The bytes as a gzip file."""
        with self._packing:
            if self._packed is None:
                squeeze = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
                self._packed = squeeze.compress(self.data) + squeeze.flush()
            return self._packed


class Pages:
    """Serves the files that are in a folder when it is made, and nothing else; ``/`` is its ``index.html``."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): File(path, FOREVER if path.parent.name == "assets" else ASK)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def warm_up(self) -> None:
        """Compress what can be, so that the first visitor does not have to wait."""
        for file in self._files.values():
            if file.packable:
                file.packed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        request = Request(scope)
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, "there is nothing to change here", {"Allow": "GET, HEAD"})
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        file = self._files.get(name or INDEX)
        if file is None:
            raise HTTPException(404, "there is no such page")
        await _response(request, file)(scope, receive, send)


def _response(request: Request, file: File) -> Response:
    headers = {"ETag": file.tag, "Cache-Control": file.cache}
    if file.packable:
        headers["Vary"] = "Accept-Encoding"
    if has(request, file.tag):
        return Response(status_code=304, headers=headers)
    data = file.data
    if file.packable and "gzip" in request.headers.get("accept-encoding", ""):
        data = file.packed()
        headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(data))
    return Response(b"" if request.method == "HEAD" else data, headers=headers, media_type=file.media_type)
