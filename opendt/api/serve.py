"""Serve the application with uvicorn."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from opendt.api.app import create_app
from opendt.api.context import LATEST
from opendt.api.security import resolve_token
from opendt.api.series import POWER, Span
from opendt.errors import ConfigError, OpenDTError
from opendt.settings import Settings

log = logging.getLogger("opendt.api")


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
    threading.Thread(target=_warm_up, args=(app,), name="warm-up", daemon=True).start()
    options = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5, lifespan="on"
    )
    with suppress(KeyboardInterrupt):  # it has stopped in good order, and only then tells that it was asked to
        uvicorn.Server(options).run(sockets=[listener])


def _warm_up(app: FastAPI) -> None:
    """Compress the page, read the latest run's power, prepare a what-if on its last day: nobody has to wait for it."""
    if pages := getattr(app.state, "pages", None):
        pages.warm_up()
    try:
        ctx = app.state.context
        ctx.series.read(POWER, ctx.run_key(LATEST), Span(), ctx.lake.commit())
        app.state.whatif.prepare(LATEST, last_hours=24.0)
    except OpenDTError as error:
        log.info("nothing to prepare yet: %s", error.message)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # from here on clients wait instead of being refused
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port} cannot be bound ({error.strerror}). Choose another --port or --host.", setting="api.port"
        ) from None
    listener.set_inheritable(True)
    return listener
