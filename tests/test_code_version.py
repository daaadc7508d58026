"""The version names the commit of the project's own checkout, and of no other."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from opendt import __version__
from opendt.code_version import code_version, version_of

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a checkout of its own, with one commit."""
    made = tmp_path / "checkout" / "opendt"
    made.mkdir(parents=True)
    (made / "__init__.py").write_text("first\n")
    git(made.parent, "init", "-q")
    git(made.parent, "add", "opendt/__init__.py")
    git(made.parent, "commit", "-q", "-m", "first", "--no-verify")
    return made


@needs_git
def test_checkout_names_its_commit(package: Path) -> None:
    assert version_of(package) == f"{__version__}+g{git(package, 'rev-parse', '--short=7', 'HEAD')}"


@needs_git
def test_changed_files_are_marked_and_new_ones_are_not(package: Path) -> None:
    (package / "notes.py").touch()
    assert not version_of(package).endswith(".dirty")
    (package / "__init__.py").write_text("second\n")
    assert version_of(package).endswith(".dirty")


@needs_git
def test_installed_below_another_repository_it_is_just_the_version(package: Path) -> None:
    site = package.parent / "venv/site-packages/opendt"
    site.mkdir(parents=True)
    (site / "__init__.py").touch()
    assert version_of(site) == __version__
    beside = package.parent / "other"
    beside.mkdir()
    (beside / "__init__.py").touch()
    assert version_of(beside) == __version__  # in the top folder, but not part of the repository


def test_without_git_or_repository_it_is_just_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of(tmp_path) == __version__
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version_of(Path(__file__).parents[1] / "opendt") == __version__


def test_this_code_has_a_version() -> None:
    assert code_version().startswith(__version__)
