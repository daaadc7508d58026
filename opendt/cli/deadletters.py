"""``opendt dead-letters``: records that could not be understood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, print_json, print_table

letters_app = typer.Typer(no_args_is_help=True, help="Show records that could not be understood; try them again.")

RunOption = Annotated[str | None, typer.Option("--run-id", help="Only those of one run.", metavar="ID")]

_QUERY = """
SELECT run_id, datacenter, window_index, topic, partition, offset_, reason, payload, payload_bytes, retried_ms
FROM dead_letters WHERE ($run IS NULL OR run_id = $run) AND ($open = false OR retried_ms IS NULL)
ORDER BY run_id, datacenter, window_index, topic, partition, offset_ LIMIT $most
"""


@letters_app.command("show")
@command
def show(
    run_id: RunOption = None,
    most: Annotated[int, typer.Option("--limit", min=1, help="How many to show at most.")] = 100,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show dead letters: where each was read, why it was rejected, how it begins.

    Example: opendt dead-letters show --limit 5
    """
    rows = _rows(_settings(config, lake, None), run_id, most, unretried=False)
    if as_json:
        print_json([row | {"payload": row["payload"].decode(errors="replace")} for row in rows])
        return
    shown = [
        (r["run_id"], f"{r['topic']}[{r['partition']}]@{r['offset_']}", r["reason"], r["payload_bytes"], _start(r))
        for r in rows
    ]
    print_table(("run", "record", "reason", "bytes", "begins with"), shown)


@letters_app.command("retry")
@command
def retry(
    run_id: RunOption = None,
    most: Annotated[int, typer.Option("--limit", min=1, help="How many to try at most.")] = 1000,
    kafka: Annotated[str | None, typer.Option("--kafka", help="Kafka brokers.", metavar="HOST:PORT,...")] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try to understand dead letters again and send those that can be to their topic once more.

    For after a repair: a newer version, a corrected setting. What is sent again reaches a twin that still reads.
    """
    import time

    from opendt.lake.lake import Lake
    from opendt.stream import deadletters

    settings = _settings(config, lake, kafka)
    rows = _rows(settings, run_id, most, unretried=True)
    results = []
    for datacenter in sorted({row["datacenter"] for row in rows}):
        mine = [row for row in rows if row["datacenter"] == datacenter and row["payload_bytes"]]
        letters = [(row["topic"], row["partition"], row["offset_"], row["payload"]) for row in mine]
        found = deadletters.retry(settings.stream, datacenter, letters)
        results += found
        sent = [row | {"retried_ms": time.time_ns() // 1_000_000} for row, r in zip(mine, found, strict=True) if r.sent]
        if sent:
            with Lake.open(settings.lake) as writable:
                writable.upsert("dead_letters", sent)
    if as_json:
        print_json([_plain(result) for result in results])
        return
    console.print(f"{sum(r.sent for r in results)} of {len(results)} dead letters sent again")
    for result in results:
        if not result.sent:
            console.print(f"{result.topic}[{result.partition}]@{result.offset}: {result.reason}", markup=False)


def _plain(result: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(result)


def _settings(config: Path | None, lake: Path | None, kafka: str | None) -> Any:
    from opendt.settings import load_settings

    return load_settings(config, {"lake.path": lake, "stream.bootstrap_servers": kafka})


def _rows(settings: Any, run_id: str | None, most: int, *, unretried: bool) -> list[dict[str, Any]]:
    from opendt.lake.lake import Lake

    with Lake.open(settings.lake, read_only=True) as lake:
        return lake.rows(_QUERY, {"run": run_id, "open": unretried, "most": most})


def _start(row: dict[str, Any]) -> str:
    text = row["payload"][:60].decode(errors="replace")
    return text + ("…" if row["payload_bytes"] > 60 else "")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(letters_app, name="dead-letters")
