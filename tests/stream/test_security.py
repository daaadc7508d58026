"""Credentials reach the client and nothing else."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from opendt.errors import BrokerUnavailableError, ConfigError, TerminalError
from opendt.settings import Settings, StreamSettings, WindowSettings, load_settings
from opendt.stream import kafka, topics
from opendt.stream.replay_process import ReplayProcess
from opendt.stream.source import open_windows
from opendt.stream.testing import SASL_PASSWORD, free_port
from opendt.traces.writer import write_power, write_topology, write_workload

PASSWORD = "correct-horse-battery"


def secured(address: str, password: str, **more) -> StreamSettings:
    security = {
        "security.protocol": SecretStr("SASL_PLAINTEXT"),
        "sasl.mechanism": SecretStr("PLAIN"),
        "sasl.username": SecretStr("twin"),
        "sasl.password": SecretStr(password),
    }
    return StreamSettings(bootstrap_servers=address, security=security, **more)


@pytest.mark.java
def test_with_the_right_password_a_trace_goes_through(kafka_server, real, trace, tmp_path):
    write_workload(tmp_path, trace.workload)
    write_power(tmp_path, trace.power, 30_000, int(trace.workload.tasks.submission_ms.min()))
    write_topology(tmp_path, trace.topology)
    settings = secured(kafka_server.sasl_address, SASL_PASSWORD, topics=real.topics)
    with ReplayProcess(tmp_path, settings, "dc", "r1") as replay:
        if Path("/proc").exists():
            assert SASL_PASSWORD.encode() not in Path(f"/proc/{replay.pid}/cmdline").read_bytes()
            assert SASL_PASSWORD not in os.environ.values()
        with open_windows(settings, WindowSettings(), "dc", "r1") as stream:
            assert sum(len(b.workload.tasks) for b in stream) == len(trace.workload.tasks)


@pytest.mark.java
def test_a_wrong_password_is_a_clear_error_without_the_password(kafka_server, caplog):
    caplog.set_level(logging.DEBUG)
    settings = secured(kafka_server.sasl_address, PASSWORD)
    with pytest.raises(TerminalError, match="refused us") as caught:
        topics.ensure(settings)
    assert PASSWORD not in str(caught.value) + repr(caught.value.facts) + caplog.text


def test_an_unreachable_broker_does_not_give_the_password_away(monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(kafka, "TIMEOUT_S", 0.1)
    with pytest.raises(BrokerUnavailableError) as caught:
        topics.ensure(secured(f"127.0.0.1:{free_port()}", PASSWORD))
    assert PASSWORD not in str(caught.value) + repr(caught.value.facts) + caplog.text


@pytest.mark.parametrize(("name", "value"), [
    ("security.protocol", "sorcery-protocol"), ("no.such.setting", PASSWORD),
    ("ssl.certificate.pem", PASSWORD), ("ssl.ca.location", f"/nowhere/{PASSWORD}"),
])  # fmt: skip
def test_settings_the_client_refuses_are_named_without_their_value(name, value, caplog):
    caplog.set_level(logging.DEBUG)
    security = {"security.protocol": SecretStr("SSL"), name: SecretStr(value)}
    settings = StreamSettings(bootstrap_servers="127.0.0.1:1", security=security)
    with pytest.raises(ConfigError) as caught:
        kafka.consumer(settings, "group")
    assert PASSWORD not in str(caught.value) + repr(caught.value.facts) + caplog.text


def test_printed_settings_hide_secrets(monkeypatch):
    settings = Settings(stream=secured("x:1", PASSWORD))
    for shown in (repr(settings), str(settings.stream), orjson.dumps(settings.public()).decode()):
        assert PASSWORD not in shown


def test_security_comes_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("stream: {security: {sasl.username: twin}}\n")
    assert load_settings(file, environment={}).stream.security["sasl.username"].get_secret_value() == "twin"
    environment = {"OPENDT_STREAM__SECURITY": '{"sasl.password": "abc", "sasl.username": "twin"}'}
    security = load_settings(environment=environment).stream.security
    assert {name: value.get_secret_value() for name, value in security.items()} == {
        "sasl.password": "abc", "sasl.username": "twin",
    }  # fmt: skip
