"""Settings: sources in order of strength, and one clear error for whatever is wrong."""

from __future__ import annotations

import pytest

from opendt.errors import ConfigError
from opendt.settings import Settings, describe, load_settings


def test_defaults_need_no_file_and_no_environment():
    settings = load_settings(environment={})
    assert settings == Settings()
    assert settings.stream.bootstrap_servers == ""


def test_file_holds_only_differences(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("windows:\n  length_s: 900\n")
    settings = load_settings(file, environment={})
    assert settings.windows.length_s == 900
    assert settings.engine == Settings().engine


def test_environment_beats_file_and_options_beat_environment(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("windows:\n  length_s: 900\n")
    environment = {"OPENDT_WINDOWS__LENGTH_S": "1800"}
    assert load_settings(file, environment=environment).windows.length_s == 1800
    overrides = {"windows.length_s": 60, "engine.seed": None}
    assert load_settings(file, overrides, environment).windows.length_s == 60


def test_well_known_names_of_other_programs_are_read():
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092", "OPENAI_API_KEY": "sk-secret"}
    settings = load_settings(environment=environment)
    assert settings.stream.bootstrap_servers == "broker:9092"
    assert settings.llm.api_key.get_secret_value() == "sk-secret"


def test_unrelated_environment_variables_are_ignored():
    assert load_settings(environment={"OPENDT_DEBUG": "1", "HOME": "/"}) == Settings()


def test_unknown_name_is_refused_and_the_nearest_name_is_suggested(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("stream:\n  sped: 300\n")
    with pytest.raises(ConfigError, match=r"stream\.sped.*did you mean stream\.speed") as caught:
        load_settings(file, environment={})
    assert caught.value.exit_code == 2
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("windows:\n  length_s: -1\n", r"windows\.length_s: Input should be greater than 0"),
        ("windows: 3\n", "windows"),
        ("- a\n", "must be a mapping"),
        ("windows: [\n", "cannot be read as YAML"),
        ("datacenter: 'a b'\n", "datacenter"),
    ],
)
def test_bad_file_gives_one_error(tmp_path, text, message):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_settings(file, environment={})


@pytest.mark.parametrize("speed", [0, -5, -0.5, float("nan"), float("inf"), "nan"])
def test_a_speed_is_above_0_or_minus_1(speed):
    with pytest.raises(ConfigError, match=r"stream\.speed: must be a number above 0, or -1 .* not (0|-|nan|inf)"):
        load_settings(None, {"stream.speed": speed}, environment={})
    for good in (-1, 0.5, 300):
        assert load_settings(None, {"stream.speed": good}, environment={}).stream.speed == good


def test_no_setting_takes_a_number_that_is_none():
    with pytest.raises(ConfigError, match=r"heartbeat_s: Input should be a finite number"):
        load_settings(None, {"stream.heartbeat_s": float("inf")}, environment={})


def test_a_wrong_value_names_where_it_came_from_and_nothing_else(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("engine: {name: foo}\n")

    def source(config, overrides, environment):
        with pytest.raises(ConfigError) as caught:
            load_settings(config, overrides, environment)
        return str(caught.value).rpartition("(from ")[2].partition(")")[0]

    environment = {"OPENDT_ENGINE__NAME": "foo", "KAFKA_BOOTSTRAP_SERVERS": "k:9"}
    assert source(None, {"engine.name": "foo"}, environment) == "an option or parameter"
    assert source(file, {"calibration.mode": "off"}, environment) == "environment variable OPENDT_ENGINE__NAME"
    assert source(file, {"engine.seed": 1}, {"KAFKA_BOOTSTRAP_SERVERS": "k:9"}) == str(file)
    assert source(None, {"calibration.grid_pionts": 1}, {}) == "an option or parameter"
    assert source(None, {"optimize": {"budget": 0}}, {}) == "an option or parameter"


@pytest.mark.parametrize(
    ("text", "where"), [("a: 1\nb: [\nc: 2\n", "line 4, column 1: "), ("a: 1\n\tb: 2\n", "line 2, column 1: ")]
)
def test_a_broken_file_is_one_line_with_its_place(tmp_path, text, where):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environment={})
    assert f"{file}: cannot be read as YAML ({where}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secrets_do_not_show_in_what_is_printed_or_raised():
    environment = {"OPENAI_API_KEY": "sk-secret", "OPENDT_API__TOKEN": "hunter22"}
    settings = load_settings(environment=environment)
    assert "sk-secret" not in repr(settings) + str(settings.public())
    assert "hunter22" not in repr(settings) + str(settings.public())
    with pytest.raises(ConfigError) as caught:
        load_settings(environment=environment | {"OPENDT_WINDOWS__LENGTH_S": "x"})
    assert "secret" not in str(caught.value)


def test_every_setting_has_a_line_of_help():
    assert [name for name, _, text in describe() if not text.endswith((".", "]", ").")) or len(text) < 5] == []
