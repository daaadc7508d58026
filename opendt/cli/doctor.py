"""``opendt doctor``: what works on this machine, and what to fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, print_json

if TYPE_CHECKING:
    from opendt.doctor import Check


@command
def doctor(config: ConfigOption = None, lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Look at Python, packages, lake, disk, Kafka, Prefect, ports, Java, OpenDC: what was found, what to fix.

    Exit code 1 if something stops the default configuration. Example: opendt doctor --json
    """
    from dataclasses import asdict

    from opendt.doctor import examine
    from opendt.settings import load_settings

    checks = examine(load_settings(config, {"lake.path": lake}))
    problems = sum(check.status == "problem" for check in checks)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            _print(check)
        console.print("Everything needed is there." if not problems else f"{problems} problem(s) to fix.")
    if problems:
        raise typer.Exit(1)


def _print(check: Check) -> None:
    from rich.text import Text

    colour = {"ok": "green", "warning": "yellow", "problem": "bold red"}[check.status]
    line = Text.assemble((f"{check.status:<8}", colour), (f"{check.name}: ", "bold"), check.found)
    console.print(line, soft_wrap=True)
    if check.fix and check.status != "ok":
        console.print(Text(f"        → {check.fix}"), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)
