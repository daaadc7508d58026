from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.parameters import (
    RUN_ID_PATTERN,
    CalibrateParameters,
    OptimizeParameters,
    Parameters,
    PipelineParameters,
    ReplayParameters,
    TwinParameters,
)
from opendt.errors import ConfigError
from opendt.settings import Settings

MODELS = [PipelineParameters, ReplayParameters, TwinParameters]


def test_a_form_with_only_a_trace_means_the_configuration():
    assert PipelineParameters(trace="t").settings() == Settings()


def test_what_is_filled_in_reaches_the_settings():
    given = PipelineParameters(
        trace="t", lake="/l", datacenter="north", engine="opendc", window_length_s=600, calibration="off",
        optimize="llm", speed=300, kafka="broker:9092",
    ).settings()  # fmt: skip
    assert (given.lake.path.as_posix(), given.datacenter, given.engine.name) == ("/l", "north", "opendc")
    assert (given.windows.length_s, given.calibration.mode, given.optimize.strategy) == (600, "off", "llm")
    assert (given.stream.speed, given.stream.bootstrap_servers) == (300, "broker:9092")


def test_values_left_empty_come_from_the_configuration_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("stream: {speed: 60}\nengine: {name: opendc}\n")
    given = PipelineParameters(trace="t", config=str(file)).settings()
    assert (given.stream.speed, given.engine.name) == (60, "opendc")
    assert PipelineParameters(trace="t", config=str(file), engine="native").settings().engine.name == "native"


def test_other_settings_are_the_strongest():
    given = PipelineParameters(trace="t", calibration="off", overrides={"calibration.mode": "grid"}).settings()
    assert given.calibration.mode == "grid"


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ConfigError, match="grid_pionts"):
        Parameters(overrides={"calibration.grid_pionts": 20}).settings()


@pytest.mark.parametrize(
    "wrong",
    [{"speed": 0}, {"speed": -2}, {"speed": float("nan")}, {"speed": float("inf")},
     {"window_length_s": -1}, {"engine": "other"}, {"run_id": "a/b"}, {"trace": ""},
     {"unknown": 1}],
)  # fmt: skip
def test_a_wrong_value_is_refused_in_the_form(wrong):
    with pytest.raises(ValidationError):
        PipelineParameters(**({"trace": "t"} | wrong))


@pytest.mark.parametrize("run_id", ["../../evil", "a b", "x" * 81, "ä", "a\n"])
def test_an_id_that_is_none_is_refused_with_what_is_allowed(run_id):
    with pytest.raises(ValidationError, match=r"is no id; letters, digits, '\.', '_' and '-' are allowed, at most 80"):
        PipelineParameters(trace="t", run_id=run_id)


def test_no_run_takes_the_word_for_the_newest_one_as_its_id():
    with pytest.raises(ValidationError, match="cannot be called 'latest'"):
        TwinParameters(run_id="latest")
    assert TwinParameters(run_id="latest-1").run_id == "latest-1"
    assert OptimizeParameters(run_id="latest").run_id == "latest"


def test_the_form_checks_ids_too():
    for model, name in (
        (PipelineParameters, "run_id"),
        (ReplayParameters, "replay_id"),
        (CalibrateParameters, "of_run"),
    ):
        assert model.model_json_schema()["properties"][name]["pattern"] == RUN_ID_PATTERN


@pytest.mark.parametrize("model", MODELS)
def test_every_field_has_a_title_and_a_help_text(model):
    silent = [name for name, field in model.model_fields.items() if not (field.title and field.description)]
    assert silent == []
