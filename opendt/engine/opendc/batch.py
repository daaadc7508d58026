"""Many topologies, one workload: as few JVMs as asked for, results reused by content, every run archived."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from opendt.engine.base import EngineOptions
from opendt.engine.opendc import cache, inputs
from opendt.engine.opendc.install import Installation
from opendt.engine.opendc.runner import command_line, failure, run_program
from opendt.errors import EngineError, OpenDTError, TransientError
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.settings import OpenDCSettings

_LARGEST_SEED = 20
_UNFINISHED_BYTES = 4  # OpenDC's files hold four bytes until their scenario has ended
# Below this many fragments compiling takes Java longer than running: a light compiler and a stored class archive win.
_SMALL_FRAGMENTS = 300_000
_SMALL_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
_COMMON_OPTIONS = ("--enable-native-access=ALL-UNNAMED",)


@dataclass(frozen=True, slots=True)
class Request:
    """What to simulate: every topology with the same workload, and what to write."""

    topologies: tuple[Topology, ...]
    workload: Workload
    options: EngineOptions
    carbon: CarbonTrace | None
    exports: tuple[inputs.Export, ...]


@dataclass(frozen=True, slots=True)
class Files:
    """The result folders of one topology, one per export model."""

    folders: tuple[Path, ...]
    cache_key: str


class Batch:
    """Runs requests with one installation and one set of settings."""

    def __init__(self, installation: Installation, settings: OpenDCSettings) -> None:
        self.installation = installation
        self.settings = settings
        self.cache = cache.ResultCache(settings.archive, settings.cache_mb)

    def run(self, request: Request) -> list[Files | OpenDTError]:
        """Result files per topology, in their order; an error in the place of a topology that failed.

        Raises ``EngineBusyError`` when the machine could not run it, since all of it may succeed later.
        """
        keys = self._keys(request)
        found: dict[int, Files | OpenDTError] = {}
        for index, key in enumerate(keys):
            folder = self.cache.get(key)
            if folder is not None:
                found[index] = Files(tuple(folder / str(x) for x in range(len(request.exports))), key)
        missing = [index for index in range(len(keys)) if index not in found]
        if missing:  # before running: the folders of these runs are read after this method
            cache.prune_runs(self.settings.archive, self.settings.keep_runs)
        parts = [part.tolist() for part in np.array_split(missing, self.settings.parallel) if len(part)]
        with ThreadPoolExecutor(max_workers=max(1, len(parts))) as pool:
            for part in pool.map(lambda indices: self._run_part(request, indices, keys), parts):
                found |= part
        return [found[index] for index in range(len(keys))]

    def _keys(self, request: Request) -> list[str]:
        options = request.options
        shared: list[bytes | np.ndarray] = [
            self.installation.runner.content_hash.encode(),
            orjson.dumps(inputs.experiment_json([], options, request.exports, runs_for(options))),
            *cache.workload_parts(request.workload),
            *cache.carbon_parts(request.carbon),
        ]
        if options.failures and "pathToFile" in options.failures:
            shared.append(_read_bytes(Path(options.failures["pathToFile"])))
        whole = cache.content_hash(shared).encode()
        return [cache.content_hash([whole, inputs.topology_json(t, request.carbon)]) for t in request.topologies]

    def _run_part(self, request: Request, indices: list[int], keys: list[str]) -> dict[int, Files | OpenDTError]:
        """Run some of the topologies in one JVM; after a topology that OpenDC refuses, go on with those behind it."""
        results: dict[int, Files | OpenDTError] = {}
        left = list(indices)
        while left:
            folder, error = self._run_once(request, left)
            done = self._collect(request, folder, left, keys)
            results |= done
            left = left[len(done) :]
            if not left:
                break
            error = error or EngineError(
                f"OpenDC ended well but left results out. See {folder}.", engine="opendc", reason="results missing"
            )
            if isinstance(error, TransientError):
                raise error
            results[left[0]] = error
            left = left[1:]
            if error.facts.get("reason") == "timeout":
                return results | dict.fromkeys(left, error)
        return results

    def _run_once(self, request: Request, indices: list[int]) -> tuple[Path, OpenDTError | None]:
        folder = cache.new_run_folder(self.settings.archive)
        try:
            self._write_inputs(request, indices, folder)
        except OSError as problem:
            raise cache.write_error(folder, problem) from None
        small = len(request.workload.fragments) * len(indices) < _SMALL_FRAGMENTS
        with _ClassArchive(self.installation, self.settings.archive, small, folder) as options:
            arguments, extra = command_line(
                self.installation, inputs.EXPERIMENT, [*_COMMON_OPTIONS, *options, *self.settings.jvm_options]
            )
            facts = {
                "command": arguments, "started_ms": int(time.time() * 1000), "java": self.installation.java.version,
                "runner": str(self.installation.runner.home), "runner_hash": self.installation.runner.content_hash,
                "topologies": len(indices), "tasks": len(request.workload.tasks),
                "fragments": len(request.workload.fragments),
            }  # fmt: skip
            finished = run_program(arguments, folder, self.settings.timeout_s, extra)
            error = failure(finished, folder, self.settings.timeout_s)
        state = {"state": "failed" if error else "completed", "reason": error.facts.get("reason") if error else None}
        cache.write_metadata(folder, {**facts, **state, "exit_status": finished.status, "wall_s": finished.wall_s})
        return folder, error

    def _write_inputs(self, request: Request, indices: Sequence[int], folder: Path) -> None:
        names = [f"topology_{index:04d}.json" for index in indices]
        for name, index in zip(names, indices, strict=True):
            (folder / name).write_bytes(inputs.topology_json(request.topologies[index], request.carbon))
        ids = inputs.runner_ids(request.workload.tasks.task_id)
        inputs.write_table(inputs.task_table(request.workload, ids), folder / inputs.WORKLOAD / "tasks.parquet")
        inputs.write_table(inputs.fragment_table(request.workload, ids), folder / inputs.WORKLOAD / "fragments.parquet")
        if request.carbon is not None and len(request.carbon):
            inputs.write_table(inputs.carbon_table(request.carbon), folder / inputs.CARBON)
        options = request.options
        if options.failures and "pathToFile" in options.failures:
            shutil.copyfile(options.failures["pathToFile"], folder / inputs.FAILURES)
        experiment = inputs.experiment_json(names, options, request.exports, runs_for(options))
        (folder / inputs.EXPERIMENT).write_bytes(orjson.dumps(experiment, option=orjson.OPT_INDENT_2))

    def _collect(self, request: Request, folder: Path, indices: list[int], keys: list[str]) -> dict[int, Files]:
        """The leading topologies whose result files are complete; they are also put into the cache."""
        raw = folder / inputs.OUTPUT / inputs.NAME / "raw-output"
        found: dict[int, Files] = {}
        count = len(request.exports)
        for position, index in enumerate(indices):
            folders = tuple(raw / str(position * count + x) / f"seed={seed_for(request.options)}" for x in range(count))
            if not all(
                _complete(f / f"{name}.parquet")
                for f, e in zip(folders, request.exports, strict=True)
                for name in e.files
            ):
                break
            self.cache.put(keys[index], folders)
            found[index] = Files(folders, keys[index])
        return found


def _complete(path: Path) -> bool:
    try:
        return path.stat().st_size > _UNFINISHED_BYTES
    except FileNotFoundError:
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(
            f"{path}: the failure trace cannot be read ({error.strerror}).", engine="opendc", reason="no failure trace"
        ) from None


def draws_random(allocation: dict[str, object]) -> bool:
    """Whether a policy draws random numbers, so that the seed matters."""
    if allocation.get("type") == "prefab":
        return allocation.get("policyName") == "Random"
    return allocation.get("subsetSize", 1) != 1 or not allocation.get("weighers")


def seed_for(options: EngineOptions) -> int:
    """The seed folder to read: OpenDC runs seeds from 0, so a policy without draws needs only that one."""
    return options.seed if draws_random(options.allocation) else 0


def runs_for(options: EngineOptions) -> int:
    """How many seeds OpenDC has to run to reach ours. Raises ``EngineError`` when that would be too many."""
    seed = seed_for(options)
    if not 0 <= seed <= _LARGEST_SEED:
        raise EngineError(
            f"OpenDC runs seeds 0, 1, 2 ... one after another; seed {seed} is out of reach. Use a seed from 0 to "
            f"{_LARGEST_SEED}, or the native engine.", engine="opendc", reason="seed out of reach",
        )  # fmt: skip
    return seed + 1


class _ClassArchive:
    """Java options for a small run, with a class archive that halves the start time.

    The first small run writes the archive beside its own files; it is renamed into place when complete, so that
    processes side by side never see half of one. Java ignores an archive that does not fit.
    """

    def __init__(self, installation: Installation, archive: Path, small: bool, folder: Path) -> None:
        self._small = small and bool(installation.runner.jars)
        name = f".classes-{installation.java.version.split()[0]}-{installation.version}.jsa"
        self._shared = archive.resolve() / name
        self._fresh = folder.resolve() / "classes.jsa"

    def __enter__(self) -> list[str]:
        if not self._small:
            return []
        if self._shared.is_file():
            return [*_SMALL_OPTIONS, f"-XX:SharedArchiveFile={self._shared}"]
        return [*_SMALL_OPTIONS, "-XX:+AutoCreateSharedArchive", f"-XX:SharedArchiveFile={self._fresh}"]

    def __exit__(self, *_: object) -> None:
        with suppress(FileNotFoundError):
            os.replace(self._fresh, self._shared)
