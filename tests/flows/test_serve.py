from __future__ import annotations

from typing import get_type_hints

import pytest
import yaml

from flows import serve
from flows.parameters import Parameters
from opendt.errors import ConfigError
from opendt.settings import PrefectSettings, Settings
from tasks import environment


def served(**prefect):
    return {d.name: d for d in serve.deployments(Settings(prefect=PrefectSettings(**prefect)))}


def test_every_deployment_is_a_flow_with_typed_parameters_and_a_description():
    for entry in serve.definitions():
        flow = serve.load_flow(entry["entrypoint"])
        assert issubclass(get_type_hints(flow.fn)["params"], Parameters)
        assert entry["description"].endswith(".")
        assert "opendt" in entry["tags"], "failure notifications look for this tag"


def test_every_schedule_names_its_time_zone():
    for entry in serve.definitions():
        for schedule in entry.get("schedules", []):
            assert {"slug", "cron", "timezone"} <= set(schedule)


def test_forms_show_what_people_fill_in_first():
    schema = served()["pipeline"]._parameter_openapi_schema
    names = list(schema.definitions["PipelineParameters"]["properties"])
    assert names[:3] == ["trace", "run_id", "speed"]
    assert names[-1] == "overrides"


def test_limits_choices_and_help_reach_the_form():
    properties = served()["pipeline"]._parameter_openapi_schema.definitions["PipelineParameters"]["properties"]
    assert properties["engine"]["enum"] == ["as configured", "native", "opendc"]
    assert properties["window_length_s"]["minimum"] == 0
    assert all(p.get("title") and p.get("description") for p in properties.values())


def test_forms_start_with_what_up_was_given():
    found = serve.deployments(Settings(), parameters={"*": {"lake": "/l"}, "replay": {"kafka": "k:9"}})
    forms = {d.name: d.parameters.get("params") for d in found}
    assert forms["pipeline"] == {"lake": "/l"}
    assert forms["replay"] == {"lake": "/l", "kafka": "k:9"}


def test_schedules_follow_the_time_zone_of_the_settings():
    schedules = [s.schedule for d in served(timezone="Europe/Amsterdam").values() for s in d.schedules]
    assert schedules
    assert {s.timezone for s in schedules} == {"Europe/Amsterdam"}


@pytest.mark.parametrize("wrong", [{"timezone": "Mars/Olympus"}])
def test_a_schedule_that_is_none_is_refused_with_an_example(wrong):
    with pytest.raises(ConfigError, match="Europe/Amsterdam"):
        served(**wrong)


def test_the_file_says_the_same_as_the_settings_for_people_who_use_prefects_own_command():
    data = yaml.safe_load(serve.definition_file().read_text())
    defaults = PrefectSettings()
    for entry in data["deployments"]:
        assert entry["work_pool"]["name"] == serve.WORK_POOL
        assert entry["work_pool"]["job_variables"]["env"] == environment.DEFAULTS | environment.FORCED
        for schedule in entry.get("schedules", []):
            assert schedule["timezone"] == defaults.timezone
            if schedule["slug"] == "nightly":
                assert schedule["cron"] == defaults.nightly_cron


def test_a_file_that_is_no_yaml_is_refused_by_name(tmp_path):
    file = tmp_path / "prefect.yaml"
    file.write_text("deployments: [")
    with pytest.raises(ConfigError, match=r"prefect\.yaml"):
        serve.definitions(file)


def test_deploying_registers_every_deployment_with_the_work_pool(client, prefect_server):
    settings = Settings(prefect=prefect_server.settings)
    rows = serve.register(settings, pool="test-pool", parameters={"*": {"config": ""}})
    assert serve.register(settings, pool="test-pool") is not None  # again is no error
    assert [row["name"].split("/")[1] for row in rows] == [entry["name"] for entry in serve.definitions()]
    assert client.read_work_pool("test-pool").type == "process"
    for row in rows:
        deployment = client.read_deployment_by_name(row["name"])
        assert deployment.work_pool_name == "test-pool"
        assert deployment.enforce_parameter_schema
        assert deployment.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
