"""Serve the application with uvicorn."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from opendt.api.app import create_app
from opendt.api.security import resolve_token
from opendt.errors import ConfigError
from opendt.settings import Settings


def serve(settings: Settings, *, config: Path | None = None, say: Callable[[str], None] = print) -> None:
    """Serve until interrupted.

    Raises ``ConfigError`` when the address cannot be bound, or is open to others without a token.
    """
    token = resolve_token(settings)
    app = create_app(settings, token=token, config=config)
    listener = _bind(settings.api.host, settings.api.port)
    port = listener.getsockname()[1]
    shown = f"[{settings.api.host}]" if ":" in settings.api.host else settings.api.host
    address = f"http://{shown}:{port}"
    say(f"OpenDT API and dashboard at {address}/  (reference: {address}/docs)")
    if settings.api.token.get_secret_value():
        say("Changes need the configured token.")
    else:
        say(f"With permission to change things: {address}/#token={token}")
    options = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5, lifespan="on"
    )
    uvicorn.Server(options).run(sockets=[listener])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port} cannot be bound ({error.strerror}). Choose another --port or --host.", setting="api.port"
        ) from None
    listener.set_inheritable(True)
    return listener
