"""The OpenAPI document: complete, true to what is served, and readable without a network."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from opendt.api.app import create_app

from .conftest import AUTH, TOKEN, make_settings

ROOT = Path(__file__).parents[2]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STAYS_OPEN = "/api/events"
STARTS_PROCESSES = r"^/api/(start|stop)$"


FOLDER = Path(tempfile.mkdtemp(prefix="opendt-openapi-")) / "lake"
APP = create_app(make_settings(FOLDER, sql_per_minute=1_000_000, whatif_per_minute=1_000_000), token=TOKEN)
schema = (
    schemathesis.openapi.from_asgi("/openapi.json", APP, headers={"Host": "127.0.0.1"})
    .exclude(path=STAYS_OPEN)
    .exclude(path_regex=STARTS_PROCESSES)
)


@pytest.fixture(scope="module", autouse=True)
def _lake(filled_lake: Path) -> Iterator[None]:
    shutil.copytree(filled_lake, FOLDER)
    yield
    APP.state.context.close()
    shutil.rmtree(FOLDER.parent)


@schema.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_its_promises(case) -> None:
    case.call_and_validate(headers={**AUTH, "Host": "127.0.0.1"}, checks=CHECKS)


def test_every_operation_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            assert operation.get("summary"), (path, verb)
            assert operation.get("description"), (path, verb)
            assert operation.get("tags"), (path, verb)


def test_reference_page_lists_every_operation_and_loads_nothing_but_its_style(client: TestClient) -> None:
    page = client.get("/docs").text
    document = client.get("/openapi.json").json()
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    assert re.findall(r"<link [^>]*>", page) == ['<link rel="stylesheet" href="/docs.css">']
    assert not re.search(r"<script|src=|@import|url\(", page + client.get("/docs.css").text)


def test_written_reference_names_every_path(client: TestClient) -> None:
    text = (ROOT / "docs/api.md").read_text()
    document = client.get("/openapi.json").json()
    missing = [
        f"{verb.upper()} {path}"
        for path, methods in document["paths"].items()
        for verb in methods
        if f"`{verb.upper()} {path}`" not in text
    ]
    assert missing == []
