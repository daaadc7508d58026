from __future__ import annotations

import pytest
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.utilities.schema_tools.validation import is_valid, is_valid_schema

from flows.pools import POOL_TYPES, job_template, shared_settings
from flows.serve import definitions
from opendt.errors import ConfigError

ENVIRONMENT = {
    "OPENDT_LAKE__PATH": "/data/lake", "OPENDT_LAKE__S3_SECRET_ACCESS_KEY": "s3", "OPENDT_API__TOKEN": "t",
    "OPENAI_API_KEY": "k", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "OPENDT_PREFECT__WEBHOOK_URL": "http://x/secret",
    "HOME": "/root", "OPENDT_STORE__URL": "postgresql://me:pw@db/store", "OPENDT_LAKE__CATALOG": "postgres:password=pw",
}  # fmt: skip


def test_runs_are_told_where_things_are_but_no_secrets():
    assert shared_settings(ENVIRONMENT) == {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "OPENDT_LAKE__PATH": "/data/lake"}


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_container_pools_run_our_image_with_our_settings(kind):
    properties = job_template(kind, ENVIRONMENT, "registry/opendt:1")["variables"]["properties"]
    assert properties["image"]["default"] == "registry/opendt:1"
    assert properties["env"]["default"]["OPENDT_LAKE__PATH"] == "/data/lake"


@pytest.mark.parametrize("kind", POOL_TYPES)
def test_templates_are_what_prefect_accepts_and_take_every_deployments_variables(kind):
    template = job_template(kind, ENVIRONMENT)
    assert WorkPoolCreate(name="pool", type=kind, base_job_template=template).base_job_template == template
    is_valid_schema(template["variables"], preprocess=False)  # raises otherwise
    for entry in definitions():
        assert is_valid(entry["work_pool"]["job_variables"], template["variables"]), entry["name"]
    assert not is_valid({"env": 3}, template["variables"]), "the check can tell"


def test_an_unknown_type_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="process, docker, kubernetes"):
        job_template("ecs", {})


def test_a_docker_pool_is_registered_with_its_template(client, prefect_server):
    from flows import serve
    from opendt.settings import Settings

    serve.register(
        Settings(prefect=prefect_server.settings), pool="docker-pool", pool_type="docker", environment=ENVIRONMENT
    )
    pool = client.read_work_pool("docker-pool")
    assert pool.type == "docker"
    assert pool.base_job_template["variables"]["properties"]["image"]["default"] == "opendt"
