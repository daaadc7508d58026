"""Which code this is: the version, and the commit when it runs from a checkout."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from opendt import __version__

PACKAGE = Path(__file__).parent
WAIT_S = 10.0


@cache
def code_version() -> str:
    """For example ``0.1.0+g1234abc``, with ``.dirty`` when files of the commit were changed, else just ``0.1.0``.

    Only the project's own checkout counts: installed below another repository, OpenDT does not take that one's commit.
    """
    return version_of(PACKAGE)


def version_of(package: Path) -> str:
    """The version with the commit of the checkout whose top folder holds a package."""
    top = _git(package, "rev-parse", "--show-toplevel")
    tracked = _git(package, "ls-files", "--", "__init__.py") if top else None
    commit = _git(package, "rev-parse", "--short=7", "HEAD") if tracked else None
    if not top or not commit or Path(top).resolve() != package.parent.resolve():
        return __version__
    changed = _git(package.parent, "status", "--porcelain", "--untracked-files=no", "--", ":/*.py", ":/*.sql")
    return f"{__version__}+g{commit}{'.dirty' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says about a folder; None without git or outside a repository. Takes no locks."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
