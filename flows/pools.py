"""Work pools: what a worker of each type needs to know to run our flows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import prefect

from opendt.errors import ConfigError
from opendt.settings import KNOWN_ENVIRONMENT, PREFIX

POOL_TYPES = ("process", "docker", "kubernetes")
IMAGE = "opendt"
# Prefect ships the templates of its workers; asking for them by its client would go to the internet first.
_METADATA = Path("server/api/collections_data/views/aggregate-worker-metadata.json")
_PASSWORD = re.compile(r"password\s*=|://[^/@\s]*:[^/@\s]*@", re.IGNORECASE)
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "SECURITY", "WEBHOOK")


def job_template(pool_type: str, environment: Mapping[str, str], image: str = IMAGE) -> dict[str, Any]:
    """The base job template of a new work pool: Prefect's own, with our image and settings filled in.

    Secrets are left out: they belong into the worker's environment or a secret store, not into Prefect's database.

    Args:
        pool_type: process, docker or kubernetes.
        environment: where the settings (``OPENDT_...``) are taken from that every run should see.
        image: container image, for docker and kubernetes.

    Raises:
        ConfigError: another type.
    """
    if pool_type not in POOL_TYPES:
        raise ConfigError(f"work pool type {pool_type} is not known; choose one of {', '.join(POOL_TYPES)}.")
    workers = json.loads((Path(prefect.__file__).parent / _METADATA).read_text())
    template = next(
        worker["default_base_job_configuration"]
        for collection in workers.values()
        for worker in collection.values()
        if worker["type"] == pool_type
    )
    properties = template["variables"]["properties"]
    properties["env"]["default"] = shared_settings(environment)
    if "image" in properties:
        properties["image"]["default"] = image
    return template


def shared_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that say where lake, store and Kafka are, without secrets."""
    ours = {name for name in environment if name.startswith(PREFIX) and "__" in name} | set(KNOWN_ENVIRONMENT)
    return {
        name: environment[name]
        for name in sorted(ours)
        if name in environment
        and not any(word in name.upper() for word in _SECRET_WORDS)
        and not _PASSWORD.search(environment[name])
    }
