"""Objectives in force: settings, store and a watched file that may be broken."""

import os

import pytest

from opendt.errors import ConfigError
from opendt.optimize.slo import SloFile, SloWatch, read_slo, set_slo, slo_in_force
from opendt.settings import SloSettings, load_settings
from opendt.store import Store


@pytest.fixture
def settings(tmp_path):
    overrides = {"store.url": f"sqlite:///{tmp_path}/store.db", "slo.energy_kwh": 500.0}
    return load_settings(None, overrides | {"optimize.slo_file": tmp_path / "slo.json"}, {})


@pytest.fixture
def store(settings):
    with Store.open(settings) as opened:
        yield opened


def _write(settings, text):
    path = settings.optimize.slo_file
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_without_a_file_and_a_version_the_settings_hold(settings, store):
    found = slo_in_force(settings, store)
    assert (found.slo.energy_kwh, found.version, found.source) == (500.0, 0, "settings")


def test_a_file_becomes_a_version_once(settings, store):
    _write(settings, '{"energy_target": 400}')
    watch = SloWatch(settings, store)
    assert (watch.current().slo.energy_kwh, watch.current().version, watch.current().source) == (400.0, 1, "file")


def test_a_change_of_the_file_takes_effect_at_the_next_look(settings, store):
    _write(settings, '{"energy_kwh": 400}')
    watch = SloWatch(settings, store)
    watch.current()
    _write(settings, '{"energy_kwh": 390, "runtime_h": 24}')
    assert (watch.current().slo.energy_kwh, watch.current().version) == (390.0, 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "is not JSON"), ('{"energy_kwh": -1}', "greater than 0"), ('{"enrgy": 1}', "enrgy"), ("[]", "JSON object")],
)
def test_a_file_that_becomes_invalid_keeps_the_last_good_one_and_says_so(settings, store, text, problem):
    _write(settings, '{"energy_kwh": 400}')
    watch = SloWatch(settings, store)
    watch.current()
    _write(settings, text)
    found = watch.current()
    assert found.slo.energy_kwh == 400.0
    assert problem in found.problem
    assert watch.current().problem == found.problem
    _write(settings, '{"energy_kwh": 380}')
    assert (watch.current().slo.energy_kwh, watch.current().problem) == (380.0, None)


def test_a_file_that_goes_away_keeps_the_last_good_one_and_says_so(settings, store):
    _write(settings, '{"energy_kwh": 400}')
    watch = SloWatch(settings, store)
    watch.current()
    settings.optimize.slo_file.unlink()
    assert watch.current().slo.energy_kwh == 400.0
    assert "cannot be read" in watch.current().problem


def test_a_restart_does_not_undo_what_was_set_since_the_file(settings, store):
    _write(settings, '{"energy_kwh": 400}')
    SloWatch(settings, store).current()
    set_slo(settings, store, SloSettings(energy_kwh=350), "api")
    found = SloWatch(settings, store).current()
    assert (found.slo.energy_kwh, found.source, found.version) == (350.0, "api", 2)


def test_a_broken_file_at_the_start_leaves_the_settings(settings, store):
    _write(settings, "nonsense")
    found = SloWatch(settings, store).current()
    assert (found.slo.energy_kwh, found.version) == (500.0, 0)
    assert "is not JSON" in found.problem


def test_an_unchanged_file_is_not_read_again(settings, tmp_path):
    _write(settings, '{"energy_kwh": 400}')
    file = SloFile(settings.optimize.slo_file)
    assert file.changed() == SloSettings(energy_kwh=400)
    assert file.changed() is None


def test_the_example_file_of_the_project_is_valid(request):
    assert read_slo(request.config.rootpath / "config" / "slo.json") == SloSettings()


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        read_slo(tmp_path / "none.json")
