"""What `--help` shows is what the code says: nothing in a help text is taken for markup and lost."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from opendt.cli import app


def commands(command, words=()):
    yield words, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from commands(inner, (*words, name))


COMMANDS = list(commands(typer.main.get_command(app)))


def plain(text):
    """Words one space apart, without the marks of code and bold print."""
    return " ".join(re.sub(r"`|\*\*", "", text.replace("\b", "")).split())


def shown(words):
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"})
    assert result.exit_code == 0, result.output
    return plain(re.sub(r"[│╭╮╰╯─]", " ", result.output))


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(w) or "opendt" for w, _ in COMMANDS])
def test_every_word_of_a_help_text_is_shown(words, command):
    page = shown(words)
    texts = [command.help or "", *(p.help or "" for p in command.params)]
    texts += [inner.help.split("\n\n")[0] for inner in getattr(command, "commands", {}).values()]
    missing = [text for text in map(plain, texts) if text not in page]
    assert missing == [], page


@pytest.mark.parametrize("words", [(), ("run",), ("trace", "convert"), ("stream", "tail")])
def test_options_without_a_value_show_no_type(words):
    page = shown(words)
    assert "--help" in page
    assert "bool" not in page
    assert "<path>" in page or words != ("trace", "convert"), "others keep theirs"


def test_units_in_brackets_are_among_them():
    assert "Length [days]." in shown(["trace", "make"])
    assert "spacing of power samples [s]." in shown(["trace", "make"])
