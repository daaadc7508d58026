"""Isolation for every test: no settings, keys or Prefect home of the person who runs them."""

from __future__ import annotations

import os
import tempfile

KEPT = {"OPENDT_SHARED"}
FOREIGN = {"KAFKA_BOOTSTRAP_SERVERS", "OPENAI_API_KEY", "OPENAI_BASE_URL", "PREFECT_API_URL", "PREFECT_API_KEY"}

for _name in list(os.environ):
    if _name in FOREIGN or (_name.startswith("OPENDT_") and _name not in KEPT):
        del os.environ[_name]

# Read when Prefect is imported, hence not a fixture.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="opendt-test-prefect-")
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
