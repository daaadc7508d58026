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
    assert properties["env"]["default"]["PREFECT_HOME"] == "/data/.prefect", "not the worker's"


@pytest.mark.parametrize("kind", POOL_TYPES)
def test_templates_are_what_prefect_accepts_and_take_every_deployments_variables(kind):
    template = job_template(kind, ENVIRONMENT)
    assert WorkPoolCreate(name="pool", type=kind, base_job_template=template).base_job_template == template
    is_valid_schema(template["variables"], preprocess=False)  # raises otherwise
    for entry in definitions():
        assert is_valid(entry["work_pool"]["job_variables"], template["variables"]), entry["name"]
    assert not is_valid({"env": 3}, template["variables"]), "the check can tell"


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_an_image_built_on_the_machine_is_not_asked_for_at_a_registry(kind):
    properties = job_template(kind, ENVIRONMENT)["variables"]["properties"]
    assert properties["image_pull_policy"]["default"] == "IfNotPresent"


def test_docker_runs_keep_the_lake_in_a_named_volume_unless_told_otherwise():
    assert job_template("docker", {})["variables"]["properties"]["volumes"]["default"] == ["opendt:/data"]
    given = job_template("docker", {}, volumes=["/srv/lake:/data", "/srv/traces:/traces:ro"])
    assert given["variables"]["properties"]["volumes"]["default"] == ["/srv/lake:/data", "/srv/traces:/traces:ro"]


def test_docker_runs_join_the_network_they_are_given():
    host = job_template("docker", {}, network="host")["variables"]["properties"]
    own = job_template("docker", {}, network="opendt_default")["variables"]["properties"]
    assert (host["network_mode"]["default"], "default" in host["networks"]) == ("host", False)
    assert (own["networks"]["default"], "default" in own["network_mode"]) == (["opendt_default"], False)


@pytest.mark.parametrize("kind", ["process", "kubernetes"])
def test_volumes_and_networks_are_refused_where_they_mean_nothing(kind):
    with pytest.raises(ConfigError, match="docker"):
        job_template(kind, {}, volumes=["a:/data"])
    with pytest.raises(ConfigError, match="docker"):
        job_template(kind, {}, network="host")


def test_a_kubernetes_job_runs_one_pod_and_the_pod_holds_no_fields_of_the_job():
    spec = job_template("kubernetes", {})["job_configuration"]["job_manifest"]["spec"]
    assert (spec["parallelism"], spec["completions"]) == (1, 1)
    assert set(spec["template"]["spec"]) == {"restartPolicy", "serviceAccountName", "containers"}


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
    with pytest.raises(ConfigError, match="of type docker, not process"):
        serve.register(Settings(prefect=prefect_server.settings), pool="docker-pool")


def test_a_pool_that_a_worker_made_first_gets_our_image_and_one_that_has_an_image_keeps_it(client, prefect_server):
    from flows import serve
    from opendt.settings import Settings

    settings = Settings(prefect=prefect_server.settings)
    bare = job_template("docker", {})
    del bare["variables"]["properties"]["image"]["default"]
    client.create_work_pool(WorkPoolCreate(name="workers-own", type="docker", base_job_template=bare))
    for image in ("registry/opendt:1", "registry/opendt:2"):
        serve.register(settings, pool="workers-own", pool_type="docker", image=image)
        found = client.read_work_pool("workers-own").base_job_template["variables"]["properties"]
        assert found["image"]["default"] == "registry/opendt:1"
