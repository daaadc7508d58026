"""What ``opendt engine info`` tells: which engines can run here, and what is missing for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opendt.engine.opendc.install import GET_IT, find_runner
from opendt.engine.opendc.java import OLDEST_JAVA, candidates
from opendt.errors import MissingDependencyError
from opendt.settings import OpenDCSettings


def engine_info(settings: OpenDCSettings) -> dict[str, dict[str, Any]]:
    """Facts about the engines by name; ``ready`` says whether an engine can run, ``missing`` why not."""
    return {"native": native_info(), "opendc": opendc_info(settings)}


def native_info() -> dict[str, Any]:
    """Version of the native engine and of Numba, and the cache of compiled kernels."""
    import numba

    from opendt import __version__

    facts: dict[str, Any] = {"ready": True, "version": None, "opendt": __version__, "numba": numba.__version__}
    try:
        from opendt.engine.native.engine import NativeEngine
    except ImportError as error:
        return facts | {"ready": False, "missing": [f"the native engine cannot be imported: {error}"]}
    files = _kernel_files()
    return facts | {
        "version": NativeEngine.version,
        "kernel_cache": sorted({str(file.parent) for file in files}),
        "compiled_kernels": len(files),
        "missing": [],
    }


def _kernel_files() -> list[Path]:
    """Compiled kernels on disk: where ``NUMBA_CACHE_DIR`` says, else beside the source."""
    from numba.core import config

    places = [Path(__file__).parent / "native"]
    elsewhere = getattr(config, "CACHE_DIR", "")
    if elsewhere:
        places.append(Path(elsewhere))
    return [file for place in places for file in place.rglob("*.nbc")]


def opendc_info(settings: OpenDCSettings) -> dict[str, Any]:
    """The OpenDC runner and Java as found, and what is missing."""
    facts: dict[str, Any] = {"ready": False, "home": str(settings.home) if settings.home else None}
    missing: list[str] = []
    try:
        runner = find_runner(settings.home)
        facts |= {
            "runner": str(runner.home),
            "version": runner.content_hash[:12],
            "jars": len(runner.jars),
            "start_script": str(runner.script) if runner.script else None,
        }
        missing += [f"a jar of {part} in {runner.home}/lib" for part in runner.missing_jars]
    except MissingDependencyError as error:
        missing.append(error.message)
    javas = list(candidates(settings.java_home))
    chosen = next((java for java in javas[: 1 if settings.java_home else None] if java.usable), None)
    facts["java"] = f"{chosen.program} ({chosen.version}, from {chosen.source})" if chosen else None
    facts["java_found"] = [f"{java.program}: {java.version} ({java.source})" for java in javas]
    if chosen is None:
        missing.append(f"Java {OLDEST_JAVA} or newer: install a JDK or set JAVA_HOME or opendc.java_home")
    if missing and not any(GET_IT in text for text in missing) and "jar" in " ".join(missing):
        missing.append(GET_IT)
    facts |= {"archive": str(settings.archive), "parallel": settings.parallel, "timeout_s": settings.timeout_s}
    return facts | {"ready": not missing, "missing": missing}
