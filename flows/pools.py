"""Work pools: what a worker of each type needs to know to run our flows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import prefect

from opendt.errors import ConfigError
from opendt.settings import KNOWN_ENVIRONMENT, PREFIX

POOL_TYPES = ("process", "docker", "kubernetes")
IMAGE = "opendt"
# Without a volume the lake would go with the container; a named one is made on first use.
VOLUMES = ("opendt:/data",)
# Prefect hands the worker's own settings to its containers, its home too, which they do not have.
CONTAINER_ENVIRONMENT = {"PREFECT_HOME": "/data/.prefect"}
NETWORK_MODES = ("host", "bridge", "none")
# Prefect ships the templates of its workers; asking for them by its client would go to the internet first.
_METADATA = Path("server/api/collections_data/views/aggregate-worker-metadata.json")
_PASSWORD = re.compile(r"password\s*=|://[^/@\s]*:[^/@\s]*@", re.IGNORECASE)
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "SECURITY", "WEBHOOK")


def job_template(
    pool_type: str,
    environment: Mapping[str, str],
    image: str = IMAGE,
    *,
    volumes: Sequence[str] = (),
    network: str = "",
) -> dict[str, Any]:
    """The base job template of a new work pool: Prefect's own, with our image and settings filled in.

    Secrets are left out: they belong into the worker's environment or a secret store, not into Prefect's database.

    Args:
        pool_type: process, docker or kubernetes.
        environment: where the settings (``OPENDT_...``) are taken from that every run should see.
        image: container image, for docker and kubernetes.
        volumes: mounts of docker runs, ``NAME-or-path:path``; ``VOLUMES`` when empty.
        network: a network of docker runs, or one of ``NETWORK_MODES``; empty for Docker's default.

    Raises:
        ConfigError: another type, or volumes and a network for one that has none.
    """
    if pool_type not in POOL_TYPES:
        raise ConfigError(f"work pool type {pool_type} is not known; choose one of {', '.join(POOL_TYPES)}.")
    if pool_type != "docker" and (volumes or network):
        raise ConfigError(f"volumes and a network are for work pools of type docker, not {pool_type}.")
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
        properties["env"]["default"] |= CONTAINER_ENVIRONMENT
        # Prefect would ask a registry for a tag "latest" each time, also for an image that was built here.
        properties["image_pull_policy"]["default"] = "IfNotPresent"
    if pool_type == "docker":
        properties["volumes"]["default"] = list(volumes or VOLUMES)
        if network:
            properties["network_mode" if network in NETWORK_MODES else "networks"]["default"] = (
                network if network in NETWORK_MODES else [network]
            )
    if pool_type == "kubernetes":
        _move_to_job(template["job_configuration"]["job_manifest"]["spec"])
    return template


def lacks_image(template: Mapping[str, Any]) -> bool:
    """Whether a pool that runs containers was never told which image."""
    image = template.get("variables", {}).get("properties", {}).get("image")
    return image is not None and not image.get("default")


def _move_to_job(spec: dict[str, Any]) -> None:
    """Put how often a job runs where Kubernetes reads it; Prefect's template has it one level too deep, in the pod."""
    pod = spec["template"]["spec"]
    spec.update({name: pod.pop(name) for name in ("parallelism", "completions") if name in pod})


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
