"""Simulators behind one protocol (``opendt.engine.base``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from opendt.errors import ConfigError

if TYPE_CHECKING:
    from opendt.engine.base import Engine
    from opendt.settings import Settings

ENGINES = ("native", "opendc")


def get_engine(name: str, settings: Settings | None = None, progress: Callable[[str], None] | None = None) -> Engine:
    """The engine of that name.

    Args:
        name: ``native`` or ``opendc``.
        settings: where OpenDC and Java are; read from the environment when None.
        progress: told in a few words before something slow begins (compiling kernels on first use).

    Raises:
        ConfigError: there is no such engine.
        MissingDependencyError: OpenDC or Java is absent; the message says how to get it.
    """
    if name == "native":
        from opendt.engine.native.engine import NativeEngine

        return NativeEngine(progress)
    if name == "opendc":
        from opendt.engine.opendc.engine import OpenDCEngine
        from opendt.settings import load_settings

        return OpenDCEngine((settings or load_settings()).opendc)
    raise ConfigError(f"engine.name: there is no engine '{name}'. Choose one of {', '.join(ENGINES)}.")
