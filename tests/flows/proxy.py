"""A TCP proxy that can lose the network: it stops forwarding, as a cable would, and goes on where it stopped."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CHUNK = 65_536


class Proxy:
    """Forwards connections to a port on loopback. As a context manager it listens on ``port`` until it is left."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._forwarding = threading.Event()
        self._forwarding.set()
        self._over = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def lose(self) -> None:
        """From now on nothing arrives and nothing is refused: senders wait."""
        self._forwarding.clear()

    def restore(self) -> None:
        """What was held back is delivered."""
        self._forwarding.set()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._forwarding.set()
        for one in [self._listener, *self._open]:
            _close(one)

    def _accept(self) -> None:
        while not self._over:
            with suppress(OSError):
                inner, _ = self._listener.accept()
                self._open.append(inner)
                threading.Thread(target=self._connect, args=(inner,), daemon=True).start()

    def _connect(self, inner: socket.socket) -> None:
        self._forwarding.wait()
        try:
            outer = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _close(inner)
            return
        self._open.append(outer)
        threading.Thread(target=self._pump, args=(outer, inner), daemon=True).start()
        self._pump(inner, outer)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._forwarding.wait()
                sink.sendall(data)
            self._forwarding.wait()
        _close(source)
        _close(sink)


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
