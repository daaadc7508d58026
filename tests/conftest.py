"""Isolation for every test: no settings, keys or Prefect home of the person who runs them."""

from __future__ import annotations

import os
import tempfile

FOREIGN = {
    "KAFKA_BOOTSTRAP_SERVERS", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENDT_DATACENTER", "OPENDT_DEBUG",
    "PREFECT_API_URL", "PREFECT_API_KEY",
}  # fmt: skip

# Settings are OPENDT_<SECTION>__<FIELD>; what tests themselves ask for (OPENDT_SHARED, OPENDT_REQUIRE_...) has no "__".
for _name in list(os.environ):
    if _name in FOREIGN or (_name.startswith("OPENDT_") and "__" in _name):
        del os.environ[_name]

# Read when Prefect is imported, hence not a fixture.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="opendt-test-prefect-")
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
