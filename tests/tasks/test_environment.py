from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tasks import environment

ROOT = Path(__file__).parents[2]


def test_analytics_are_off_even_where_the_environment_says_on():
    values = {"PREFECT_SERVER_ANALYTICS_ENABLED": "true", "DO_NOT_TRACK": "0"}
    environment.apply(values)
    assert values["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert values["DO_NOT_TRACK"] == "1"


def test_other_values_of_the_environment_win():
    values = environment.server_environment({"PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events"})
    assert values["PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"] == "events"


def test_prefect_sees_analytics_off_outside_the_repository(tmp_path):
    code = (
        "import flows; from prefect.settings import get_current_settings as s; from prefect.analytics import "
        "is_telemetry_enabled as t; print(s().server.analytics_enabled, s().server.ui.show_promotional_content, t())"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and k not in ("DO_NOT_TRACK", "CI")}
    clean |= {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert out.stdout.split() == ["False", "False", "False"], out.stderr


def test_pyproject_says_the_same_for_people_who_start_prefect_themselves():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prefect"]
    written = {f"PREFECT_{name}": value for name, value in _flat(table)}
    ours = environment.SERVER | environment.FORCED | environment.DEFAULTS
    assert {name: str(value).lower() for name, value in written.items()} == {
        name: ours[name].lower() for name in written
    }
    assert set(environment.SERVER) <= set(written)


def _flat(table: dict, prefix: str = ""):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_".upper())
        else:
            yield f"{prefix}{name}".upper(), value
