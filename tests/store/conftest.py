"""A store per test with a clock that ticks once per change."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from opendt.settings import LakeSettings, Settings
from opendt.store import Store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(lake=LakeSettings(path=tmp_path / "lake"))


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    ticks = itertools.count(1_000)
    with Store.open(settings, clock_ms=lambda: next(ticks)) as opened:
        yield opened
