"""The flow run behind a run, found by asking the Prefect server of the settings, if there is one.

A run knows nothing of Prefect, but flow runs carry the run's id at the end of their names. Where a run id was made from
the flow run's own id, name and run id may begin it with different kinds, so only what follows the kind is looked for.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opendt.api.security import is_loopback
from opendt.settings import Settings

TIMEOUT_S = 1.5
KEEP_S = 15.0
MOST_BYTES = 5_000_000
ANYWHERE = ("0.0.0.0", "::", "")
_MADE_OF_FLOW_RUN = re.compile(r"[a-z]+-([0-9a-f]{8}-[0-9a-f]{4})")
# Flows that compute runs; others (reports) only mention them.
_COMPUTING = ("pipeline ", "twin ", "calibrate ", "optimize ", "nightly ")


@dataclass(frozen=True, slots=True)
class FlowRun:
    """Where to look at a flow run; ``url`` is None with the reason when there is nothing to look at."""

    url: str | None = None
    name: str | None = None
    state: str | None = None
    reason: str | None = None


class FlowRuns:
    """Asks a Prefect server for flow runs, at most every few seconds per run."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._guard = threading.Lock()
        self._known: OrderedDict[tuple[str, str], tuple[float, FlowRun]] = OrderedDict()

    def of(self, run_id: str, host: str) -> FlowRun:
        """The flow run of a run, for somebody who reached this server under a host name."""
        with self._guard:
            at, found = self._known.get((run_id, host), (float("-inf"), FlowRun()))
        if self._clock() - at < KEEP_S:
            return found
        found = self._find(run_id, host)
        with self._guard:
            self._known[run_id, host] = (self._clock(), found)
            while len(self._known) > 200:
                self._known.popitem(last=False)
        return found

    def _find(self, run_id: str, host: str) -> FlowRun:
        prefect = self._settings.prefect
        if is_loopback(prefect.host) and not is_loopback(self._settings.api.host):
            return FlowRun(reason="the Prefect server can only be reached from its own machine.")
        inside = "127.0.0.1" if prefect.host in ANYWHERE else prefect.host
        try:
            rows = _ask(f"http://{_bracketed(inside)}:{prefect.port}/api/flow_runs/filter", tail_of(run_id))
        except (OSError, ValueError):
            return FlowRun(reason=f"no Prefect server answers at {inside}:{prefect.port}.")
        row = chosen(rows, run_id)
        if row is None:
            return FlowRun(reason=f"the Prefect server at {inside}:{prefect.port} knows no flow run of it.")
        outside = host if prefect.host in ANYWHERE else prefect.host
        url = f"http://{_bracketed(outside)}:{prefect.port}/runs/flow-run/{row['id']}"
        return FlowRun(url, str(row["name"]), str(row.get("state_name") or row.get("state_type") or "unknown"))


def tail_of(run_id: str) -> str:
    """What the name of a run's flow run ends with."""
    made = _MADE_OF_FLOW_RUN.fullmatch(run_id)
    return made[1] if made else run_id


def chosen(rows: Any, run_id: str) -> dict[str, Any] | None:
    """The flow run that computes a run, the latest attempt of several; None when there is none."""
    tail = tail_of(run_id)
    ending = (f"-{tail}",) if tail != run_id else (f" {tail}",)
    named = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
        and re.fullmatch(r"[0-9a-f-]{36}", str(row.get("id")))
        and str(row.get("name")).endswith(ending)
        and str(row.get("name")).startswith(_COMPUTING)
    ]
    return named[0] if named else None


def _ask(url: str, tail: str) -> Any:
    question = {"flow_runs": {"name": {"like_": tail}}, "sort": "START_TIME_DESC", "limit": 50}
    request = urllib.request.Request(url, json.dumps(question).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read(MOST_BYTES))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
