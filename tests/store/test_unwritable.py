"""A store in a folder that cannot be written: read as it is, and one sentence for who changes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opendt.errors import TerminalError
from opendt.settings import Settings, SloSettings
from opendt.store import Store


@pytest.fixture
def unwritable(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a read-only folder refuses is refused to root as well: SQLite finds a link to nowhere."""
    store.set_slo("dc", SloSettings(energy_kwh=5.0), source="file")
    store.close()
    folder = Path(settings.lake.path)
    (folder / "store.sqlite-shm").symlink_to(folder / "nowhere" / "shm")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: (Path(path), mode) != (folder, os.W_OK) and access(path, mode))
    return settings


def test_it_can_be_read(unwritable: Settings) -> None:
    with Store.open(unwritable, read_only=True) as store:
        store.ping()
        found = store.slo("dc")
    assert found is not None
    assert found.slo.energy_kwh == 5.0


def test_changing_it_is_refused_for_good_in_one_sentence(unwritable: Settings) -> None:
    with pytest.raises(TerminalError, match=r"the store's folder cannot be written .*set store\.url"):
        Store.open(unwritable)
