"""``opendt api``: serve the REST API and the dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from opendt.cli.common import ConfigOption, LakeOption, command, console


@command
def api(
    host: Annotated[str | None, typer.Option("--host", help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 for a free one.")] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve the REST API and the dashboard until control-C.

    Reading needs no token on loopback; the token for changes is printed at the start.
    """
    from opendt.api.serve import serve
    from opendt.settings import load_settings

    settings = load_settings(config, {"api.host": host, "api.port": port, "lake.path": lake})
    serve(settings, config=config, say=lambda text: console.print(text, soft_wrap=True, markup=False))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(api)
