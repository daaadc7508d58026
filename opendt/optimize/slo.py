"""Which objectives hold: the last version in the store, kept in step with a watched file, else the settings."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import orjson

from opendt.errors import ConfigError
from opendt.optimize.objective import parse_slo
from opendt.settings import Settings, SloSettings
from opendt.store import SloVersion, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SloInForce:
    """Objectives in force; version 0 are those of the settings. ``problem`` says why the watched file was not taken."""

    slo: SloSettings
    version: int
    source: str
    problem: str | None = None


def read_slo(path: Path) -> SloSettings:
    """Checked objectives from a JSON file. Raises ``ConfigError`` naming file and field."""
    try:
        data = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Write the objectives there as JSON.") from None
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}: is not JSON ({error}). Fix the file.") from None
    return parse_slo(data, str(path))


class SloFile:
    """A file of objectives that people edit while runs go on. Looks again only when the file has changed.

    A content is taken up once: objectives set later by API or CLI stay until the file changes again.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.problem: str | None = None
        self._seen: tuple[int, int] | None = None

    def changed(self) -> SloSettings | None:
        """The objectives when the file has changed and is valid, else None; ``problem`` tells what is wrong with it."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            self.problem, self._seen = f"{self.path}: cannot be read ({error.strerror})", None
            return None
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            slo = read_slo(self.path)
        except ConfigError as error:
            self.problem = error.message
            log.warning("objectives stay as they are: %s", error.message)
            return None
        self.problem = None
        return slo


class SloWatch:
    """Objectives in force for a datacenter; ask once per window.

    The file's objectives enter the store as a new version when they differ from those last taken from the file, so that
    a restart does not undo what API or CLI set since.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        path = settings.optimize.slo_file
        self._file = SloFile(path) if path else None

    def current(self) -> SloInForce:
        """The objectives now. Never raises for a broken file: the last good ones hold and ``problem`` says why."""
        if self._file is not None:
            found = self._file.changed()
            if found is not None and found != self._last_from_file():
                self._store.set_slo(self._settings.datacenter, found, source="file")
        in_force = slo_in_force(self._settings, self._store)
        problem = self._file.problem if self._file else None
        return SloInForce(in_force.slo, in_force.version, in_force.source, problem)

    def _last_from_file(self) -> SloSettings | None:
        history = self._store.slo_history(self._settings.datacenter, limit=1000)
        return next((version.slo for version in history if version.source == "file"), None)


def slo_in_force(settings: Settings, store: Store) -> SloInForce:
    """The last version in the store, else the settings' objectives as version 0."""
    stored = store.slo(settings.datacenter)
    if stored is None:
        return SloInForce(settings.slo, 0, "settings")
    return SloInForce(stored.slo, stored.version, stored.source)


def set_slo(settings: Settings, store: Store, slo: SloSettings, source: str) -> SloVersion:
    """Put objectives in force; they hold from the next window on."""
    return store.set_slo(settings.datacenter, slo, source=source)
