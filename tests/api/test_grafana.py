"""Every panel of every Grafana dashboard, its query replayed against the API."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from opendt.lake import Lake

from .conftest import client_for, make_settings

FOLDER = Path(__file__).parents[2] / "deployments/grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}
TARGETS = [
    pytest.param(target, id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]


@pytest.fixture(scope="module")
def api(filled_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The filled lake with targets set, so that every panel has something to show."""
    folder = tmp_path_factory.mktemp("grafana") / "lake"
    shutil.copytree(filled_lake, folder)
    settings = make_settings(folder)
    with Lake.open(settings.lake) as lake:
        slo = {"datacenter": "dc", "version": 1, "slo_json": '{"energy_kwh": 7}', "created_ms": 1}
        lake.insert("slo_events", [slo])
    with client_for(settings) as client:
        yield client


def rows_of(api: TestClient, board: dict[str, Any], target: dict[str, Any]) -> list[dict[str, Any]]:
    """What Grafana would get: variables filled in, the root selected."""
    url = target["url"]
    for variable in board["templating"]["list"]:
        url = url.replace("${" + variable["name"] + "}", variable["current"]["value"])
    assert "$" not in url
    response = api.request(target["url_options"]["method"], url)
    assert response.status_code == 200, response.text
    return response.json()[target["root_selector"]]


@pytest.mark.parametrize("target", TARGETS)
def test_panel_gets_its_columns_with_values(api: TestClient, target: dict[str, Any]) -> None:
    rows = rows_of(api, next(iter(BOARDS.values())), target)
    assert rows
    for column in target["columns"]:
        assert all(column["selector"] in row for row in rows), column
    numbers = [c["selector"] for c in target["columns"] if c["type"] in ("number", "timestamp")]
    assert any(row[name] is not None for row in rows for name in numbers)
    if target["format"] == "timeseries":
        assert all(isinstance(row[target["columns"][0]["selector"]], str) for row in rows)
        for name in numbers[1:]:
            assert any(row[name] is not None for row in rows), name


@pytest.mark.parametrize("name", BOARDS)
def test_run_variable_lists_runs(api: TestClient, name: str) -> None:
    query = BOARDS[name]["templating"]["list"][0]["query"]["infinityQuery"]
    assert [row["run_id"] for row in rows_of(api, BOARDS[name], query)] == ["run-1", "run-0"]


def test_dashboards_cover_power_carbon_accuracy_and_stream() -> None:
    assert set(BOARDS) == {"opendt-power", "opendt-carbon", "opendt-accuracy", "opendt-stream"}
    assert len({board["uid"] for board in BOARDS.values()}) == 4


def test_panels_use_the_provisioned_data_source_and_do_not_overlap() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/opendt.yaml").read_text())["datasources"]
    for board in BOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            at = panel["gridPos"]
            cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_links_and_variables_have_what_the_schema_of_dashboards_requires() -> None:
    link = {"title", "type", "tags", "asDropdown", "icon", "tooltip", "targetBlank", "includeVars", "keepTime"}
    for board in BOARDS.values():
        assert isinstance(board["schemaVersion"], int)
        assert all(set(one) == link for one in board["links"])
        for variable in board["templating"]["list"]:
            assert {"name", "label", "type", "query", "current"} <= set(variable)
            assert "definition" not in variable


def test_no_secret_stands_in_the_provisioning() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/opendt.yaml").read_text())["datasources"]
    assert source["secureJsonData"] == {"bearerToken": "$OPENDT_API__TOKEN"}
    assert source["url"] == "$OPENDT_API_URL"
