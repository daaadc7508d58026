"""``opendt config``: the resolved settings."""

from __future__ import annotations

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, print_json, print_table


@command
def config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every setting: name, value in force, default, meaning."""
    from opendt.settings import describe, load_settings

    settings = load_settings(config)
    if as_json:
        print_json(settings.public())
        return
    public = settings.public()
    rows = []
    for name, default, text in describe():
        value = public
        for part in name.split("."):
            value = value[part]
        rows.append((name, value, default, text))
    print_table(("setting", "value", "default", "meaning"), rows)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(config)
