"""Fetching a public trace: resumable, verified, complete or not there at all."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from opendt.errors import ConfigError, TraceError, TransientError
from opendt.traces.reader import file_sha256
from opendt.traces.sources import Source, SourceFile

_BLOCK = 256 * 1024
_RETRIED = {408, 425, 429, 500, 502, 503, 504}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where a trace is now; ``downloaded_bytes`` is 0 if it was there already, ``resumed`` names continued files."""

    path: Path
    files: int
    downloaded_bytes: int
    resumed: tuple[str, ...]


def fetch_trace(
    source: Source,
    dest: Path,
    *,
    base_url: str,
    timeout_s: float = 30.0,
    attempts: int = 4,
    pause_s: float = 1.0,
    progress: Progress | None = None,
) -> Fetched:
    """Download a trace into ``dest``, which appears only when every file has its pinned SHA-256.

    Parts are kept beside ``dest`` in a folder ``.<name>.part``, so that another call continues where this one stopped.

    Args:
        source: what to fetch.
        dest: folder to create; one that already holds the verified trace is left as it is.
        base_url: http or https address of the server.
        timeout_s: longest silence of the server [s].
        attempts: attempts per file; each continues where the last one stopped.
        pause_s: pause before the second attempt [s]; doubles each time.
        progress: called with file, bytes there and bytes in all.

    Raises:
        ConfigError: the address is not http or https.
        TraceError: ``dest`` holds something else, the server does not have a file, or a file is not the pinned one.
        TransientError: the server did not answer or broke off in every attempt.
    """
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"traces.base_url is {base_url!r}; must begin with http:// or https://.")
    if dest.exists():
        _require_same(source, dest)
        return Fetched(dest, len(source.files), 0, ())
    parts = dest.parent / f".{dest.name}.part"
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TraceError(f"{dest}: cannot be written ({error.strerror}). Give another folder with --dest.") from None
    downloaded, resumed = 0, []
    for name, wanted in source.files.items():
        part = parts / name
        had = part.stat().st_size if part.exists() else 0
        _complete(source.url(base_url, name), part, wanted, timeout_s, attempts, pause_s, progress)
        downloaded += max(0, wanted.size - had)
        if 0 < had < wanted.size:
            resumed.append(name)
    (parts / "README.md").write_text(_readme(source))
    parts.rename(dest)
    return Fetched(dest, len(source.files), downloaded, tuple(resumed))


def _require_same(source: Source, dest: Path) -> None:
    for name, wanted in source.files.items():
        path = dest / name
        if not path.is_file() or file_sha256(path) != wanted.sha256:
            raise TraceError(
                f"{dest}: is there, but its {name} is not that of {source.name}. Move the folder away, or give another "
                "one with --dest.",
                file=name,
            )  # fmt: skip


def _complete(
    url: str, part: Path, wanted: SourceFile, timeout_s: float, attempts: int, pause_s: float, progress: Progress | None
) -> None:
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        had = part.exists()
        try:
            _continue(url, part, wanted, timeout_s, progress)
            if had and not _is(part, wanted):  # the old part may be of something else
                part.unlink()
                raise _Broken("the part did not belong to the file; it was removed")
            _verify(url, part, wanted)
            return
        except _Broken as error:
            reason = str(error)
    raise TransientError(
        f"{part.name}: {reason} ({url}, {attempts} attempts). Try again; what is here is kept and continued.",
        file=part.name, url=url,
    )  # fmt: skip


class _Broken(Exception):
    """One attempt ended early; the next may get further."""


def _continue(url: str, part: Path, wanted: SourceFile, timeout_s: float, progress: Progress | None) -> None:
    had = part.stat().st_size if part.exists() else 0
    if had == wanted.size:
        return
    if had > wanted.size:
        part.unlink()
        had = 0
    request = urllib.request.Request(url, headers={"User-Agent": "opendt"})
    if had:
        request.add_header("Range", f"bytes={had}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            # A server that ignores ranges sends 200 and everything from the start.
            append = answer.status == 206 and _range_start(answer) == had
            with part.open("ab" if append else "wb") as out:
                _copy(answer, out, part.name, had if append else 0, wanted, progress)
    except urllib.error.HTTPError as error:
        _explain(error, url, part)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the download broke off: {getattr(error, 'reason', None) or error}") from None
    if part.stat().st_size < wanted.size:
        raise _Broken(f"the server sent {part.stat().st_size} of {wanted.size} bytes")


def _range_start(answer: http.client.HTTPResponse) -> int:
    found = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(found) if found.isdigit() else -1


def _copy(
    answer: http.client.HTTPResponse, out: BinaryIO, name: str, done: int, wanted: SourceFile, progress: Progress | None
) -> None:
    while block := answer.read(_BLOCK):
        done += len(block)
        out.write(block)
        if progress is not None:
            progress(name, min(done, wanted.size), wanted.size)
        if done > wanted.size:  # wrong file, or a server that never ends; the check says so
            return


def _explain(error: urllib.error.HTTPError, url: str, part: Path) -> None:
    if error.code == 416:  # nothing beyond what we have: the part is not a piece of that file
        part.unlink(missing_ok=True)
        raise _Broken("the server refused to continue the part; starting again")
    if error.code in _RETRIED:
        raise _Broken(f"the server answered {error.code} {error.reason}")
    raise TraceError(
        f"{part.name}: the server answered {error.code} {error.reason} for {url}. Check traces.base_url.",
        file=part.name, url=url, status=error.code,
    )  # fmt: skip


def _verify(url: str, part: Path, wanted: SourceFile) -> None:
    if not _is(part, wanted):
        found = file_sha256(part)
        part.unlink()
        raise TraceError(
            f"{part.name}: SHA-256 is {found}, not the pinned {wanted.sha256}. The file was removed; check that "
            f"traces.base_url serves the original ({url}).",
            file=part.name, url=url,
        )  # fmt: skip


def _is(part: Path, wanted: SourceFile) -> bool:
    return part.stat().st_size == wanted.size and file_sha256(part) == wanted.sha256


def _readme(source: Source) -> str:
    sums = "\n".join(f"{wanted.sha256}  {name}" for name, wanted in source.files.items())
    return (
        f"# {source.name}\n\n{source.title}.\n\n"
        f"Source: repository {source.repository}, commit {source.commit},\nfolder `{source.folder}`. "
        "Licence: see that repository.\n\n"
        f"SHA-256, as verified after the download:\n\n```\n{sums}\n```\n"
    )
