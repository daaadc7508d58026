"""Imports point down: deployments → flows → tasks → opendt, and inside the library each door is in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("opendt", "tasks", "flows", "deployments")  # lowest first
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))

# Packages of the library that compute on arrays and models and know no outside world.
PURE = ("opendt/engine/native", "opendt/engine/base.py", "opendt/power", "opendt/metrics.py", "opendt/units.py",
        "opendt/models", "opendt/calibration")  # fmt: skip
OUTSIDE = {"confluent_kafka", "duckdb", "fastapi", "starlette", "uvicorn", "httpx", "requests", "urllib", "http",
           "socket", "sqlalchemy", "openai", "typer", "rich"}  # fmt: skip


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> list[tuple[str, bool, int]]:
    """(dotted module, whether at the top level of the file, line) of every import in a file."""
    tree = ast.parse(path.read_text(), filename=str(path))
    inside = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in inside, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno} imports relatively; name the package"
            found.append((node.module or "", node not in inside, node.lineno))
            found += [(f"{node.module}.{alias.name}", node not in inside, node.lineno) for alias in node.names]
    return found


def _offences(paths, forbidden) -> list[str]:
    return [
        f"{_name(path)}:{line} imports {module}"
        for path in paths
        for module, top, line in _imports(path)
        if forbidden(path, module.split(".")[0], module, top)
    ]


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer):
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    paths = [p for p in SOURCES if p.relative_to(ROOT).parts[0] == layer and not _name(p).startswith("opendt/cli/")]
    assert _offences(paths, lambda path, package, module, top: package in above) == []


def test_the_library_does_not_know_prefect():
    paths = [p for p in SOURCES if _name(p).startswith("opendt/")]

    def forbidden(path: Path, package: str, module: str, top: bool) -> bool:
        lazily_in_cli = _name(path).startswith("opendt/cli/") and not top
        return package in {"prefect", "prefect_dask", "flows", "tasks", "deployments"} and not lazily_in_cli

    assert _offences(paths, forbidden) == []


def test_only_one_module_knows_the_kafka_client():
    paths = [p for p in SOURCES if _name(p) != "opendt/stream/kafka.py"]
    assert _offences(paths, lambda path, package, module, top: package == "confluent_kafka") == []


def test_only_the_lake_knows_duckdb():
    paths = [p for p in SOURCES if not _name(p).startswith(("opendt/lake/", "opendt/cli/"))]
    assert _offences(paths, lambda path, package, module, top: package == "duckdb") == []


def test_what_computes_knows_no_outside_world():
    paths = [p for p in SOURCES if _name(p).startswith(PURE)]

    def forbidden(path: Path, package: str, module: str, top: bool) -> bool:
        return package in OUTSIDE or module.startswith(("opendt.stream", "opendt.lake", "opendt.api", "opendt.cli"))

    assert _offences(paths, forbidden) == []


def test_only_settings_and_the_commands_read_the_environment():
    allowed = ("opendt/settings.py", "opendt/cli/", "opendt/engine/opendc/", "tasks/environment.py")
    found = []
    for path in SOURCES:
        if _name(path).startswith(allowed):
            continue
        attributes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        readers = [node for node in attributes if node.attr in {"environ", "getenv", "putenv"}]
        found += [f"{_name(path)}:{node.lineno} reads the environment" for node in readers]
    assert found == []


def test_commands_import_heavy_packages_inside_their_functions():
    heavy = {"prefect", "duckdb", "numba", "pyarrow", "matplotlib", "skopt", "scipy", "openai", "fastapi", "uvicorn",
             "sqlalchemy", "confluent_kafka", "numpy"}  # fmt: skip
    paths = [p for p in SOURCES if _name(p).startswith("opendt/cli/")]
    assert _offences(paths, lambda path, package, module, top: top and package in heavy) == []
