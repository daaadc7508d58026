"""One finished run and one that is still going, in a lake that every test here only reads."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from opendt.lake import Lake

_spec = importlib.util.spec_from_file_location("tiny_runs", Path(__file__).with_name("tiny_runs.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["tiny_runs"] = _module
_spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def lake_folder(tmp_path_factory) -> Path:
    from tiny_runs import tiny_run, tiny_trace

    folder = tmp_path_factory.mktemp("reports")
    trace = tiny_trace(folder / "trace")
    tiny_run(trace, folder / "lake", "done")
    tiny_run(trace, folder / "lake", "going", stop_after=2, **{"calibration.mode": "off"})
    return folder / "lake"


@pytest.fixture(scope="session")
def settings(lake_folder):
    from opendt.settings import LakeSettings

    return LakeSettings(path=lake_folder)


@pytest.fixture
def lake(settings):
    with Lake.open(settings, read_only=True) as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def coarse_images():
    """Few pixels: what is drawn matters here, not how finely."""
    from opendt.reports import figures

    before, figures.DPI = figures.DPI, 40
    yield
    figures.DPI = before


@pytest.fixture
def empty_lake(tmp_path):
    from opendt.settings import LakeSettings

    with Lake.open(LakeSettings(path=tmp_path / "empty")) as opened:
        yield opened
