"""`opendt run --remote` against a real server: what is given goes over what the deployment's form starts with."""

from __future__ import annotations

import uuid

import pytest

from flows import runtime, serve
from flows.parameters import PipelineParameters
from opendt.errors import InputError
from opendt.settings import Settings


@pytest.fixture
def served(client):
    """A pipeline served as by ``opendt up --lake --config``, without anybody who takes up its runs."""
    form = {
        "lake": "/lakes/of-up", "config": "/etc/up.yaml", "kafka": "broker:9092",
        "overrides": {"windows.length_s": 900, "engine.seed": 1},
    }  # fmt: skip
    (deployment,) = [d for d in serve.deployments(Settings(), parameters={"*": form}) if d.name == "pipeline"]
    deployment_id = deployment.apply()
    yield form
    client.delete_deployment(deployment_id)


@pytest.fixture
def start(served, client, prefect_server, monkeypatch):
    """Start a run and return the parameters that the server keeps for it, the result, and what was said."""
    monkeypatch.setattr(runtime, "_wait", client.read_flow_run)

    def started(**given):
        said = []
        params = PipelineParameters(trace="t", **given)
        result = runtime.run_remote("pipeline/pipeline", params, prefect_server.settings, say=said.append)
        kept = client.read_flow_run(uuid.UUID(result["flow_run_id"])).parameters["params"]
        return kept, result, said[0]

    return started


def test_what_the_form_starts_with_holds_where_nothing_is_given(start, served):
    kept, result, said = start(run_id="r")
    assert {name: kept[name] for name in served} == served
    assert kept["run_id"] == "r"
    assert result["lake"] == "/lakes/of-up"
    assert "results go to /lakes/of-up" in said
    assert result["url"] in said


def test_what_is_given_is_stronger_and_overrides_are_joined_by_name(start):
    kept, result, _ = start(lake="/lakes/mine", overrides={"engine.seed": 2, "stream.speed": 300})
    assert kept["lake"] == result["lake"] == "/lakes/mine"
    assert kept["config"] == "/etc/up.yaml"
    assert kept["overrides"] == {"windows.length_s": 900, "engine.seed": 2, "stream.speed": 300}


def test_the_form_is_that_of_the_last_up(start):
    (again,) = [d for d in serve.deployments(Settings()) if d.name == "pipeline"]
    again.apply()
    kept, result, said = start(run_id="r")
    assert kept == {"trace": kept["trace"], "run_id": "r"}
    assert result["lake"] is None
    assert "results go to" not in said


def test_an_unknown_deployment_is_one_sentence_with_a_way_out(prefect_api):
    with pytest.raises(InputError, match=r"knows no deployment pipeline/nowhere\. Start `opendt up`"):
        runtime.run_remote("pipeline/nowhere", PipelineParameters(trace="t"), prefect_api.settings)
