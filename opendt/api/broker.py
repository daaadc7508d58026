"""Whether a broker answers, asked at most every few seconds and never for long."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal

from opendt.errors import OpenDTError
from opendt.settings import StreamSettings
from opendt.stream import kafka

BrokerState = Literal["connected", "disconnected", "not configured"]

ASK_EVERY_S = 5.0
TIMEOUT_S = 2.0


class BrokerCheck:
    """The state of the configured brokers."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._guard = threading.Lock()
        self._asked = float("-inf")
        self._state: BrokerState = "disconnected"
        self._client: Any = None
        self.reason = ""

    def state(self) -> BrokerState:
        """Connected when a broker answered a metadata request lately."""
        if not self._settings.bootstrap_servers:
            return "not configured"
        with self._guard:
            if time.monotonic() - self._asked > ASK_EVERY_S:
                self._state = self._ask()
                self._asked = time.monotonic()
            return self._state

    def _ask(self) -> BrokerState:
        try:
            if self._client is None:
                self._client = kafka.admin(self._settings)
            with kafka.translated(self._settings, "asking whether it is there"):
                self._client.list_topics(timeout=TIMEOUT_S)
        except OpenDTError as error:
            self.reason = error.message
            return "disconnected"
        self.reason = ""
        return "connected"
