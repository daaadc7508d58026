"""The documentation says what the code says: generated pages are fresh and name every command and setting."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from opendt.settings import Settings, describe, load_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("opendt_docs_generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(generate):
    stale = [str(p.relative_to(ROOT)) for p, text in generate.pages().items() if p.read_text() != text]
    assert stale == [], "run `make docs-generate`"


def test_every_command_and_option_is_documented(generate):
    page = (ROOT / "docs/cli.md").read_text()
    missing = []
    for words, command in generate.commands():
        section = re.search(rf"^#+ {re.escape(' '.join(words))}\n(.*?)(?=^#+ |\Z)", page, re.S | re.M)
        if section is None:
            missing.append(" ".join(words))
            continue
        options = [o for p in command.params if p.param_type_name == "option" and p.name != "help" for o in p.opts]
        missing += [f"{' '.join(words)} {option}" for option in options if option not in section.group(1)]
    assert missing == []


def test_every_command_and_option_explains_itself(generate):
    silent = []
    for words, command in generate.commands():
        if not (command.help or "").strip():
            silent.append(" ".join(words))
        silent += [
            f"{' '.join(words)} {p.name}" for p in command.params if p.name != "help" and not (p.help or "").strip()
        ]
    assert silent == []


def test_every_setting_is_documented_and_explained():
    page = (ROOT / "docs/configuration.md").read_text()
    assert [name for name, _, text in describe() if f"| `{name}` |" not in page or not text] == []


def test_the_default_file_holds_every_setting_with_its_default():
    data = yaml.safe_load((ROOT / "config/default.yaml").read_text())
    assert sorted(_names(data)) == sorted(name for name, _, _ in describe())
    assert load_settings(ROOT / "config/default.yaml", environment={}) == Settings()


def test_experiment_files_hold_only_differences():
    for path in (ROOT / "config/experiments").glob("*.yaml"):
        load_settings(path, environment={})
        data = yaml.safe_load(path.read_text()) or {}
        defaults = {name: value for name, value, _ in describe()}
        same = [name for name in _names(data) if str(_at(data, name)) == str(defaults.get(name))]
        assert same == [], f"{path.name} repeats defaults"


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        local = [t for t in targets if "://" not in t and not t.startswith("mailto:")]
        broken += [f"{page.relative_to(ROOT)} → {t}" for t in local if not (page.parent / t).exists()]
    assert broken == []


def _names(data: dict, prefix: str = "") -> list[str]:
    known = {name for name, _, _ in describe()}
    found = []
    for name, value in data.items():
        if isinstance(value, dict) and f"{prefix}{name}" not in known:
            found += _names(value, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def _at(data: dict, dotted: str):
    for part in dotted.split("."):
        data = data[part]
    return data
