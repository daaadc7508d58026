"""``opendt replay``, ``opendt topics``, ``opendt stream``: traces into Kafka, and what is there."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, errors, print_json, print_table

if TYPE_CHECKING:
    from opendt.settings import Settings, StreamSettings
    from opendt.stream.records import ReplayRecords
    from opendt.stream.replay import ReplayProgress, ReplayReport
    from opendt.stream.replay_process import ReplayProcess
    from opendt.stream.tail import Line

topics_app = typer.Typer(no_args_is_help=True, help="Create, list, describe and delete the Kafka topics.")
stream_app = typer.Typer(no_args_is_help=True, help="Look into the stream.")

KafkaOption = Annotated[
    str | None, typer.Option("--kafka", help="Kafka brokers instead of the configured ones.", metavar="HOST:PORT,...")
]


def _settings(config: Path | None, kafka: str | None, **overrides: Any) -> Settings:
    from opendt.settings import load_settings

    given = {f"stream.{name}": value for name, value in overrides.items()}
    return load_settings(config, {"stream.bootstrap_servers": kafka, **given})


@command
def replay(
    trace: Annotated[
        list[Path], typer.Option("--trace", help="Folder of the trace; repeat it for several datacenters.")
    ],
    datacenter: Annotated[
        list[str] | None, typer.Option(help="Identifier of the datacenter, one per trace; as configured when left out.")
    ] = None,
    speed: Annotated[float | None, typer.Option(help="Trace seconds per second; -1 as fast as possible.")] = None,
    layout: Annotated[str | None, typer.Option(help="columns, opendt-v1 or opendt-v0.")] = None,
    start: Annotated[str | None, typer.Option(help="Send only what is submitted from this trace time on.")] = None,
    stop: Annotated[str | None, typer.Option(help="Send only what happens before this trace time.")] = None,
    loop: Annotated[int, typer.Option(min=1, help="Send the trace so many times, one after another.")] = 1,
    topology: Annotated[Path | None, typer.Option(help="Topology instead of the trace's own.", metavar="FILE")] = None,
    replay_id: Annotated[str, typer.Option("--replay-id", help="A known id goes on where it stopped.")] = "",
    lake: LakeOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send recorded traces into Kafka: workload, power and topology on one clock.

    SIGTERM and Control-C stop it after the record in hand; SIGUSR1 pauses it and lets it go on. With --lake, what was
    sent is entered in table replays there.

    Example: opendt replay --trace data/traces/demo --speed 300 --kafka localhost:9092
    """
    from opendt.stream.records import ReplayRecords
    from opendt.stream.replay import new_replay_id

    settings = _settings(config, kafka, speed=speed, layout=layout)
    if lake:
        settings = settings.model_copy(update={"lake": settings.lake.model_copy(update={"path": lake})})
    names = datacenter or [settings.datacenter]
    _check_names(trace, names)
    base, span = replay_id or new_replay_id(), (_time(start, "--start"), _time(stop, "--stop"))
    ids = [base] if len(names) == 1 else [f"{base}-{name}" for name in names]
    traces = {(id_, name): folder.name for id_, name, folder in zip(ids, names, trace, strict=True)}
    records = ReplayRecords(settings.lake if lake else None, settings.stream, traces)
    reports = _run_replays(trace, settings.stream, names, ids, span, loop, topology, records, fresh=not replay_id)
    if as_json:
        print_json(reports[0].as_dict() if len(reports) == 1 else [report.as_dict() for report in reports])
        return
    for report in reports:
        lag = f", at most {report.max_lag_s:.1f} s behind" if report.speed > 0 else ""
        console.print(
            f"{report.datacenter}: {report.messages:,} records, {report.payload_bytes / 1e6:,.1f} MB in "
            f"{report.wall_s:.1f} s{lag} ({report.state}, replay id {report.replay_id})"
        )


def _check_names(traces: Sequence[Path], names: Sequence[str]) -> None:
    from opendt.errors import InputError

    if len(names) != len(traces) or len(set(names)) != len(names):
        raise InputError(
            f"{len(traces)} traces need as many different datacenters, got {', '.join(names)}. "
            "Give --datacenter once per --trace."
        )


def _time(text: str | None, option: str) -> int | None:
    from opendt.errors import InputError
    from opendt.units import parse_time_ms

    try:
        return None if text is None else parse_time_ms(text)
    except ValueError:
        raise InputError(f"{option} {text}: not a time. Give ISO 8601 (2022-10-07T00:00:00Z) or epoch ms.") from None


def _run_replays(
    traces: Sequence[Path],
    stream: StreamSettings,
    names: Sequence[str],
    ids: Sequence[str],
    span: tuple[int | None, int | None],
    loop: int,
    topology: Path | None,
    records: ReplayRecords,
    *,
    fresh: bool,
) -> list[ReplayReport]:
    from opendt.stream.replay_process import ReplayProcess

    with ExitStack() as stack:
        show = stack.enter_context(_progress_bars())
        stack.enter_context(records)
        replays = []
        for folder, name, replay_id in zip(traces, names, ids, strict=True):
            one = ReplayProcess(
                folder,
                stream,
                name,
                replay_id,
                start_sequences={} if fresh else None,
                topology=topology,
                start_ms=span[0],
                stop_ms=span[1],
                loop=loop,
                on_progress=partial(show, name),
            )
            replays.append(stack.enter_context(one))
        stack.enter_context(_signals(replays))
        reports = []
        for one in replays:
            reports.append(one.wait())
            records.ended(reports[-1])
        return reports


@contextmanager
def _signals(replays: Sequence[ReplayProcess]) -> Iterator[None]:
    """SIGTERM and SIGINT stop the replays, SIGUSR1 pauses them and lets them go on."""
    paused = False

    def stop(*_: Any) -> None:
        for one in replays:
            one.stop()

    def toggle(*_: Any) -> None:
        nonlocal paused
        paused = not paused
        errors.print("paused" if paused else "going on")
        for one in replays:
            one.pause() if paused else one.resume()

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
        signal.SIGINT: signal.signal(signal.SIGINT, stop),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, toggle),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress_bars() -> Iterator[Any]:
    """A function (datacenter, progress) that draws bars on stderr when that is a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    from opendt.units import iso

    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
        console=errors, transient=True, disable=not errors.is_terminal,
    ) as bars:  # fmt: skip
        tasks: dict[str, Any] = {}

        def show(name: str, progress: ReplayProgress) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, note="")
            lag = f", {progress.lag_s:.1f} s behind" if progress.lag_s > 0.5 else ""
            note = f"{iso(progress.time_ms)}{lag}"
            bars.update(tasks[name], total=progress.total, completed=progress.messages, note=note)

        yield show


@topics_app.command("create")
@command
def topics_create(kafka: KafkaOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Create the configured topics that are missing; refuse when an existing one contradicts the configuration."""
    from opendt.stream import topics

    created = topics.create(_settings(config, kafka).stream)
    if as_json:
        print_json({"created": created})
    else:
        console.print(f"created {', '.join(created)}" if created else "every topic is there, as configured")


@topics_app.command("list")
@command
def topics_list(kafka: KafkaOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the configured topics and the others on the broker."""
    from opendt.stream import topics

    found = topics.list_all(_settings(config, kafka).stream)
    if as_json:
        print_json(found)
    else:
        print_table(("topic", "configured", "exists", "partitions"), [tuple(row.values()) for row in found])


@topics_app.command("describe")
@command
def topics_describe(kafka: KafkaOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the topics' settings on the broker, and what contradicts the configuration."""
    from opendt.stream import topics

    found = topics.describe(_settings(config, kafka).stream)
    if as_json:
        print_json(found)
        return
    rows = []
    for topic in found:
        config_text = ", ".join(f"{key}={value}" for key, value in topic["config"].items())
        rows.append((topic["topic"], topic["partitions"], topic["replication_factor"], config_text))
    print_table(("topic", "partitions", "replicas", "settings"), rows)
    for problem in (p for topic in found for p in topic["contradictions"]):
        console.print(f"[yellow]contradiction:[/] {problem}")


@topics_app.command("delete")
@command
def topics_delete(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the configured topics with all their records."""
    from opendt.stream import topics

    settings = _settings(config, kafka).stream
    if not yes:
        typer.confirm(f"Delete the configured topics on {settings.bootstrap_servers} with all records?", abort=True)
    deleted = topics.delete(settings)
    if as_json:
        print_json({"deleted": deleted})
    else:
        console.print(f"deleted {', '.join(deleted)}" if deleted else "none of the configured topics exists")


@stream_app.command("tail")
@command
def stream_tail(
    topic: Annotated[list[str] | None, typer.Argument(help="Topics; the configured ones when left out.")] = None,
    last: Annotated[int, typer.Option("-n", "--last", min=0, help="Messages per partition to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as messages come.")] = False,
    layout: Annotated[str | None, typer.Option(help="columns, opendt-v1 or opendt-v0.")] = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print messages readably, the newest of each partition first, and new ones with --follow.

    Example: opendt stream tail dc.power -n 3 --kafka localhost:9092
    """
    from dataclasses import asdict

    from opendt.stream.tail import tail

    lines = tail(_settings(config, kafka, layout=layout).stream, topic or (), last=last, follow=follow)
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    for line in lines:
        console.print(_tail_text(line), soft_wrap=True, markup=False)


def _tail_text(line: Line) -> str:
    from opendt.units import iso

    sender = "" if line.replay is None else f"  ({line.replay} #{line.sequence})"
    when = "" if line.time_ms is None else f"{iso(line.time_ms)}  "
    return f"{line.topic}[{line.partition}]@{line.offset}  {when}{line.kind}: {line.text}{sender}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(replay)
    app.add_typer(topics_app, name="topics")
    app.add_typer(stream_app, name="stream")
