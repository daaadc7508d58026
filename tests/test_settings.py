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
