"""What Prefect must know before it is imported: the one place where its environment is set.

``[tool.prefect]`` in pyproject.toml says the same, but Prefect reads that only from the working directory.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Never sent, whatever a profile or the working directory says.
FORCED: dict[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}

# Used unless the environment says otherwise.
DEFAULTS: dict[str, str] = {
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Often enough to notice a dead run within two minutes (prefect.zombie_after_s).
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # Waits of 2, 4, ... 128 s: a run outlives a server that is away for four minutes when the run ends.
    "PREFECT_CLIENT_MAX_RETRIES": "7",
    # One line per window in the console and the API log would bury the sentences that matter.
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
}

# A server that records hundreds of short task runs needs a third of the CPU with these.
SERVER: dict[str, str] = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
}


def apply(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what Prefect reads when it is imported. Harmless to repeat."""
    target = os.environ if environment is None else environment
    target.update(FORCED)
    for name, value in DEFAULTS.items():
        target.setdefault(name, value)


def server_environment(base: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """The environment to start a Prefect server in: a copy of the given one (default: this process's) and ours."""
    environment = dict(os.environ if base is None else base)
    apply(environment)
    for name, value in SERVER.items():
        environment.setdefault(name, value)
    return environment
