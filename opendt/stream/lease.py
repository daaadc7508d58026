"""A lease: of several twin processes that ask for the same name, one has it, and the next takes over when it goes.

Membership in a consumer group decides: whoever is assigned ``sim.results``, which has one partition, holds the lease.
Assignment is sticky, so that a process that joins takes nothing away; one that ends gives the lease up at once, one
that is killed when the broker has not heard from it for ``session_s``. What the next one has to know is in the lake:
the last committed window and its stream position.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Any

from opendt.errors import BrokerUnavailableError, ConfigError, OpenDTError
from opendt.settings import StreamSettings
from opendt.stream import kafka, topics

log = logging.getLogger(__name__)

_POLL_S = 0.1


class Lease:
    """Held from ``acquire`` until ``release``, unless it is lost; check ``held`` before each commit.

    Args:
        settings: broker and topics.
        name: what the lease is for, e.g. datacenter and run id.
        session_s: silence after which the broker gives the lease of a killed process away [s].

    Raises:
        ConfigError: on the embedded broker, which serves the process that started it and gives every topic four
            partitions, so that membership decides nothing.
    """

    def __init__(self, settings: StreamSettings, name: str, *, session_s: float = 6.0) -> None:
        topics.ensure(settings)
        self._settings, self.name = settings, name
        self._topic = settings.topics.results
        self._client = kafka.member(settings, f"opendt.lease.{name}", session_s)
        if kafka.partition_count(self._client, self._topic, settings) != 1:
            self._client.close()
            raise ConfigError(f"a lease needs a Kafka on which {self._topic} has one partition.", topic=self._topic)
        self._held, self._stop = threading.Event(), threading.Event()
        self._failure: OpenDTError | None = None
        self._client.subscribe([self._topic], on_assign=self._gained, on_revoke=self._gone, on_lost=self._gone)
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"lease {name}")
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether this process holds the lease now."""
        return self._held.is_set()

    def acquire(self, timeout_s: float | None = None) -> None:
        """Wait for the lease.

        Raises:
            BrokerUnavailableError: it was not given in time, because another process holds it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._held.wait(_POLL_S):
            if self._failure is not None:
                raise self._failure
            if deadline is not None and time.monotonic() > deadline:
                raise BrokerUnavailableError(
                    f"lease {self.name}: another process held it for {timeout_s:g} s. Stop that one, or wait longer.",
                    name=self.name,
                )

    def release(self) -> None:
        """Give it up, so that the next process has it at once."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                kafka.serve(self._client, self._settings, _POLL_S)
        except OpenDTError as error:
            self._failure = error
        finally:
            self._held.clear()
            self._client.close()

    def _gained(self, client: Any, partitions: list[Any]) -> None:
        client.incremental_assign(partitions)
        client.pause(partitions)  # membership is all we want
        if partitions:
            log.info("lease %s: held by this process", self.name)
            self._held.set()

    def _gone(self, client: Any, partitions: list[Any]) -> None:
        if partitions:
            log.info("lease %s: given up", self.name)
            self._held.clear()
        client.incremental_unassign(partitions)
