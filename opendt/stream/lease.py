"""Leases: of several processes that ask for the same names each name is held by one, and changes hands cleanly.

Membership in a consumer group decides. The group subscribes to a topic of its own that is always empty and has one
partition per name: who is assigned the partition holds the name. Assignment is sticky and cooperative, so that a
process that joins takes over some names and the others stay where they are. A name is assigned again only after its
holder has let go of it: at once when that ends or another joins, after ``session_s`` of silence when it was killed.
What the next holder has to know is in the lake: the last committed window and its stream position.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any
from zlib import crc32

from opendt.errors import ConfigError
from opendt.settings import StreamSettings
from opendt.stream import kafka, topics

log = logging.getLogger(__name__)

SESSION_S = 6.0

OnChange = Callable[[list[str]], None]


class Leases:
    """This process's part in a group; a context manager that gives everything up when left.

    All callbacks run inside ``serve`` and on leaving, in the thread that calls them.

    Args:
        settings: broker and topics.
        group: what the names are shared for, e.g. a run id; every process of the group gives the same names.
        names: what there is to hold, e.g. datacenters.
        on_gained: told the names this process holds from now on.
        on_given_up: told the names to let go of; when it returns, another process gets them.
        on_lost: told the names that another process may have already, because the broker did not hear from this one.
        session_s: silence after which the broker gives away what a killed process held [s].

    Raises:
        ConfigError: processes of the group were started with other names, or there is no broker address.
        BrokerUnavailableError: no broker answers.
    """

    def __init__(
        self,
        settings: StreamSettings,
        group: str,
        names: Sequence[str],
        *,
        on_gained: OnChange,
        on_given_up: OnChange,
        on_lost: OnChange,
        session_s: float = SESSION_S,
    ) -> None:
        self._settings, self._names = settings, sorted(set(names))
        self._on_gained, self._on_given_up, self._on_lost = on_gained, on_given_up, on_lost
        self._topic = f"{settings.topics.results}.share.{group}"
        base = f"opendt.share.{self._topic}."
        self._group = f"{base}{crc32(chr(0).join(self._names).encode()):08x}"
        self.held: set[str] = set()
        topics.create_empty(settings, self._topic, len(self._names))
        self._refuse_others(base)
        self._client = kafka.member(settings, self._group, session_s)
        self._client.subscribe([self._topic], on_assign=self._gain, on_revoke=self._give_up, on_lost=self._lose)

    def __enter__(self) -> Leases:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def serve(self, timeout_s: float) -> None:
        """Do what the group asks for, at most ``timeout_s`` long [s]. To be called at least every few minutes.

        Raises:
            OpenDTError: the broker refuses us; what was held is still held until ``close``.
        """
        kafka.serve(self._client, self._settings, timeout_s)

    def close(self) -> None:
        """Give up what is held, so that others have it at once, and leave the group."""
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    def _refuse_others(self, base: str) -> None:
        """Groups of the same purpose with other names would hold the same name twice."""
        found = topics.active_groups(self._settings, base)
        if found - {self._group}:
            raise ConfigError(
                f"processes that share {self._topic} are at work with another list than {', '.join(self._names)}. "
                "Start all of them with the same list.",
                names=self._names,
            )

    def _of(self, partitions: list[Any]) -> list[str]:
        return [self._names[partition.partition] for partition in partitions]

    def _gain(self, client: Any, partitions: list[Any]) -> None:
        client.incremental_assign(partitions)
        client.pause(partitions)  # membership is all we want
        names = self._of(partitions)
        if names:
            log.info("%s: holding %s", self._topic, ", ".join(names))
            self.held.update(names)
            self._on_gained(names)

    def _give_up(self, client: Any, partitions: list[Any]) -> None:
        names = self._of(partitions)
        if names:
            self._on_given_up(names)
            self.held.difference_update(names)
            log.info("%s: gave up %s", self._topic, ", ".join(names))
        client.incremental_unassign(partitions)

    def _lose(self, client: Any, partitions: list[Any]) -> None:
        names = self._of(partitions)
        if names:
            log.warning("%s: lost %s, the broker did not hear from this process", self._topic, ", ".join(names))
            self.held.difference_update(names)
            self._on_lost(names)
        client.incremental_unassign(partitions)
