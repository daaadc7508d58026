"""Where reference data and installed simulators are, and a stand-in for the OpenDC program."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from opendt.settings import OpenDCSettings

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("OPENDT_SHARED", ROOT.parent / "shared"))
HERE = Path(__file__).parent

# Helpers under names of their own, so that tests can import them whatever the import mode.
for _name in ("worlds", "naive", "conformance_worlds"):
    _spec = importlib.util.spec_from_file_location(f"engine_{_name}", HERE / f"{_name}.py")
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _module
    _spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden scenarios whose inputs were generated; part of the project."""
    return ROOT / "tests/golden"


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Folder of all golden scenarios, with those on third-party traces."""
    folder = SHARED / "opendc/golden"
    if not folder.is_dir():
        pytest.skip("no golden OpenDC results beside the project (../shared/opendc/golden, or OPENDT_SHARED)")
    return folder


@pytest.fixture
def stand_in(tmp_path) -> StandIn:
    return StandIn(tmp_path)


class StandIn:
    """A fake OpenDC installation whose ``java`` is ``stand_in_java.py``: it checks its inputs and replays a recording.

    ``behaviour`` names what it does instead (see that file); ``recording`` is the ``expected/`` folder it replays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.java_home = folder / "opendc", folder / "jdk"
        (self.home / "lib").mkdir(parents=True)
        from opendt.engine.opendc.install import NEEDED_JARS

        for part in NEEDED_JARS:
            (self.home / "lib" / f"{part}-1.0.jar").write_bytes(part.encode())
        self.java(version="25.0.1")

    def java(self, version: str, home: Path | None = None) -> Path:
        """Put a ``java`` that tells this version into a JDK folder."""
        program = (home or self.java_home) / "bin/java"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            "#!/bin/sh\n"
            f"""[ "$1" = -version ] && {{ echo 'openjdk version "{version}" 2026-01-20' >&2; exit 0; }}\n"""
            f'STAND_IN_CONTROL={self.folder}/control exec {sys.executable} {HERE / "stand_in_java.py"} "$@"\n'
        )
        program.chmod(0o755)
        return program.parents[1]

    def behave(self, behaviour: str, recording: Path | None = None, **more: str) -> None:
        """Tell the program what to do in its next runs."""
        lines = {"behaviour": behaviour, "recording": str(recording or ""), **more}
        (self.folder / "control").write_text("\n".join(f"{k}={v}" for k, v in lines.items()))

    def settings(self, **more: object) -> OpenDCSettings:
        """Settings that find this installation."""
        values = {"home": self.home, "java_home": self.java_home, "archive": self.folder / "runs", "timeout_s": 20.0}
        return OpenDCSettings(**{**values, **more})

    @property
    def calls(self) -> int:
        """How often an experiment was run."""
        path = self.folder / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0
