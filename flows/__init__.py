"""Flows: one file per story. Each reads like a paragraph; the sentences are tasks."""

import tasks as _tasks  # noqa: F401  (sets Prefect's environment before Prefect is imported)
