"""``opendt up``: everything a laptop needs to start flows from the Prefect UI; ``opendt deploy``: register them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, print_json, print_table


@command
def up(
    config: ConfigOption = None,
    lake: LakeOption = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Port of the Prefect server.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Flow runs at the same time.")] = 4,
) -> None:
    """Start the Prefect server and UI, the broker, and serve the deployments until control-C.

    Then open the printed address and start `pipeline`, or: opendt run --remote --trace DIR
    """
    from opendt.settings import load_settings

    settings = load_settings(config, {"lake.path": lake, "prefect.port": port})
    from flows.local import Local

    form = {"config": str(config.resolve()) if config else "", "lake": str(lake.resolve()) if lake else ""}
    Local(settings, form={k: v for k, v in form.items() if v}, limit=limit, say=_say).run()


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)


@command
def deploy(
    config: ConfigOption = None,
    pool: Annotated[str, typer.Option("--pool", help="Work pool of the runs; created where absent.")] = "opendt",
    pool_type: Annotated[
        str, typer.Option("--pool-type", help="Type of a new work pool: process, docker, kubernetes.")
    ] = "process",
    image: Annotated[str, typer.Option("--image", help="Container image of a docker or kubernetes pool.")] = "opendt",
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--volume",
            help="Mount of a new docker pool's runs, may be given again; opendt:/data by default.",
            metavar="NAME:PATH",
        ),
    ] = None,
    network: Annotated[
        str, typer.Option("--network", help="Network of a new docker pool's runs, or host, bridge, none.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Register every deployment of deployments/prefect.yaml with a Prefect server and a work pool.

    Start a worker for it with: prefect worker start --pool opendt
    """
    from opendt.settings import load_settings

    settings = load_settings(config)
    from flows import serve

    form = {"*": {"config": str(config.resolve())}} if config else {}
    rows = serve.register(
        settings, pool=pool, pool_type=pool_type, image=image, volumes=volumes or (), network=network,
        environment=os.environ, parameters=form,
    )  # fmt: skip
    if as_json:
        print_json(rows)
        return
    print_table(("deployment", "schedule", "work pool"), [(r["name"], r["schedule"], r["work_pool"]) for r in rows])
    _say(f"Start a worker on a machine with OpenDT: prefect worker start --pool {pool}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(deploy)
