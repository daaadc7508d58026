"""Who may ask what: token, host, origin, size and rate. Plain ASGI, so that streams stay streams."""

from __future__ import annotations

import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opendt.api.errors import TooManyRequestsError, UnauthorizedError, error_response
from opendt.errors import ConfigError
from opendt.settings import Settings

TOKEN_FILE = ".api-token"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
        b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    ),
)


def is_loopback(host: str) -> bool:
    """Whether an address to bind can be reached from this machine only."""
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Decides whether a request may read or change something.

    Raises ``ConfigError`` when the API is to be bound beyond loopback without a token.
    """

    def __init__(self, settings: Settings, token: str) -> None:
        api = settings.api
        self.loopback = is_loopback(api.host)
        if not token and not self.loopback:
            raise ConfigError(
                f"api.host is {api.host}, which others can reach, but api.token is empty. Set OPENDT_API__TOKEN, or "
                "bind to 127.0.0.1.",
                setting="api.token",
            )
        self._token = token.encode()
        self._reads_need_token = not self.loopback and not api.public_reads
        self._changes_need_token = not (self.loopback and api.open_changes)

    def reading(self, request: Request) -> None:
        """Raises ``UnauthorizedError`` when this client may not read."""
        if self._reads_need_token:
            self._check(request)

    def changing(self, request: Request) -> None:
        """Raises ``UnauthorizedError`` when this client may not change anything."""
        if self._changes_need_token:
            self._check(request)

    def _check(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), self._token):
            raise UnauthorizedError(
                "a token is needed: send the header 'Authorization: Bearer TOKEN'. `opendt api` prints the token; it "
                "stands in api.token or beside the lake."
            )


def resolve_token(settings: Settings) -> str:
    """The configured token; on loopback without one, that of the file beside the lake, made if needed."""
    configured = settings.api.token.get_secret_value()
    if configured or not is_loopback(settings.api.host):
        return configured
    file = Path(settings.lake.path) / TOKEN_FILE
    if file.is_file():
        return file.read_text().strip()
    token = secrets.token_urlsafe(24)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=True)
        file.write_text(token + "\n")
    except OSError:
        pass  # a lake that cannot be written to: the token lives as long as the server
    return token


class RateLimit:
    """So many requests per client and minute, spread evenly, with a burst of a quarter of them.

    Raises ``TooManyRequestsError`` from ``take``.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60.0
        self._burst = max(1.0, per_minute / 4)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, client: str) -> None:
        """Count one request of a client."""
        with self._guard:
            now = self._clock()
            left, at = self._left.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._rate)
            allowed = left >= 1.0
            self._left[client] = (left - 1.0 if allowed else left, now)
            if len(self._left) > 10_000:
                self._left.popitem(last=False)
        if not allowed:
            wait_s = (1.0 - left) / self._rate
            raise TooManyRequestsError(
                f"too many requests; try again in {wait_s:.0f} s.", retry_after_s=max(1, round(wait_s))
            )


def client_of(request: Request) -> str:
    """What rate limits count by."""
    return request.client.host if request.client else "unknown"


class Doorkeeper:
    """Outermost layer: refuses foreign hosts and origins and oversized bodies, adds security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit = settings.api.max_body_bytes
        names = {name.lower() for name in settings.api.allowed_hosts}
        loopback = is_loopback(settings.api.host)
        self._hosts = names | LOOPBACK | {settings.api.host.lower()} if names or loopback else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        scope["opendt.request_id"] = secrets.token_hex(8)
        refusal = self._refusal(request)
        if refusal:
            status, kind, message = refusal
            await error_response(request, status, kind, message)(scope, receive, _with_headers(send, scope))
            return
        await self._app(scope, _Limited(receive, self._limit), _with_headers(send, scope))

    def _refusal(self, request: Request) -> tuple[int, str, str] | None:
        host = _host_name(request.headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            return 403, "forbidden", f"this server does not answer as {host!r}. Add the name to api.allowed_hosts."
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._limit:
            return 413, "too-large", f"the body is larger than {self._limit:,} bytes, or its length is no number."
        origin = request.headers.get("origin")
        if request.method not in SAFE and origin and urlsplit(origin).netloc != request.headers.get("host"):
            return 403, "forbidden", f"changes from pages of {origin} are not accepted."
        return None


class _Limited:
    """Receives a body and stops when it grows beyond the limit (bodies without a length)."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise HTTPException(413, "the body is larger than this server accepts")
        return message


def _with_headers(send: Send, scope: Scope) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [*HEADERS, (b"x-request-id", scope["opendt.request_id"].encode())]
            names = {name for name, _ in own}
            message["headers"] = [h for h in message.get("headers", []) if h[0].lower() not in names] + own
        await send(message)

    return sending


def _host_name(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""
