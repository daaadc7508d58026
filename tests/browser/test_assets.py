"""The built page: fresh, self-contained, of bounded size, licences beside it."""

from __future__ import annotations

import hashlib
import html.parser
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
STATIC = ROOT / "opendt/api/static"
TOP_LEVEL = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
# What is needed before the page shows numbers, and all of it with the chart library; a third of that when compressed.
MOST_BYTES_AT_FIRST = 120_000
MOST_BYTES = 630_000


class Tags(html.parser.HTMLParser):
    """Elements of a page with their attributes, and text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in {"script", "style"}:
            self.inline += data.strip()


def page() -> Tags:
    tags = Tags()
    tags.feed((STATIC / "index.html").read_text())
    return tags


def test_page_is_built_from_the_sources_in_the_repository():
    names = [path.relative_to(WEB).as_posix() for path in (WEB / "src").rglob("*") if path.is_file()]
    digest = hashlib.sha256()
    for name in sorted([*names, *TOP_LEVEL]):
        digest.update(name.encode() + b"\0" + (WEB / name).read_bytes() + b"\0")
    built = json.loads((STATIC / "build.json").read_text())["sources_sha256"]
    assert built == digest.hexdigest(), (
        "the sources changed: run `npm ci && npm run build` in web/ and commit the result"
    )


def test_page_has_no_script_or_style_of_its_own_so_that_a_strict_policy_holds():
    tags = page()
    assert tags.inline == ""
    assert not [attrs for _, attrs in tags.tags if any(name.startswith("on") or name == "style" for name in attrs)]


def test_every_file_the_page_names_is_there():
    named = [attrs.get("src") or attrs.get("href") for tag, attrs in page().tags if tag in {"script", "link"}]
    assert len(named) == 3
    assert all((STATIC / name).is_file() for name in named)


def named_by_page() -> set[str]:
    return {Path(attrs.get("src") or attrs["href"]).name for tag, attrs in page().tags if tag in {"script", "link"}}


def loaded_later() -> set[str]:
    """Scripts that the page's script imports when they are needed."""
    (entry,) = [name for name in named_by_page() if name.endswith(".js")]
    text = (STATIC / "assets" / entry).read_text()
    return {path.name for path in (STATIC / "assets").glob("*.js") if path.name in text}


def test_nothing_old_lies_around():
    assert {path.name for path in (STATIC / "assets").iterdir()} == named_by_page() | loaded_later()


def test_page_stays_small_and_shows_numbers_before_the_chart_library_is_there():
    sizes = {path.name: path.stat().st_size for path in (STATIC / "assets").iterdir()}
    assert len(loaded_later()) == 1
    assert sum(sizes[name] for name in named_by_page()) < MOST_BYTES_AT_FIRST
    assert sum(sizes.values()) < MOST_BYTES


def test_licences_of_what_is_bundled_stand_beside_the_page():
    text = (STATIC / "LICENSES.txt").read_text()
    bundled = json.loads((WEB / "package.json").read_text())["dependencies"]
    for name, version in bundled.items():
        assert f"{name} {version} (" in text
    assert "Apache License" in text
    assert "BSD 3-Clause" in text


def test_lock_file_names_no_registry():
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert lock["packages"]
    assert not [name for name, about in lock["packages"].items() if "resolved" in about]
    assert all("integrity" in about for name, about in lock["packages"].items() if name)
