"""Deployments: read from ``deployments/prefect.yaml``, served on this machine or registered with a work pool."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import EntrypointType

from flows.pools import IMAGE, job_template, lacks_image
from opendt.errors import ConfigError
from opendt.settings import Settings, yaml_problem
from tasks import environment

if TYPE_CHECKING:
    from prefect.runner import Runner

Form = Mapping[str, Mapping[str, Any]]

WORK_POOL = "opendt"
POLL_S = 2.0


def definition_file() -> Path:
    """``deployments/prefect.yaml``, which lies beside this package in a clone and in an installation."""
    return Path(__file__).resolve().parents[1] / "deployments" / "prefect.yaml"


def definitions(file: Path | None = None) -> list[dict[str, Any]]:
    """The entries of prefect.yaml. Raises ``ConfigError`` when it cannot be read."""
    path = file or definition_file()
    try:
        return yaml.safe_load(path.read_text())["deployments"]
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({yaml_problem(error)}).", file=str(path)) from None
    except (KeyError, TypeError):
        raise ConfigError(f"{path}: holds no list of deployments.", file=str(path)) from None


def load_flow(entrypoint: str) -> Flow[..., Any]:
    """The flow object at a dotted path, e.g. ``flows.pipeline.pipeline``."""
    module, _, name = entrypoint.rpartition(".")
    return getattr(importlib.import_module(module), name)


def deployments(
    settings: Settings, *, parameters: Form | None = None, work_pool: str | None = None,
    file: Path | None = None,
) -> list[RunnerDeployment]:  # fmt: skip
    """Every deployment, ready to be served or applied.

    Args:
        settings: give the nightly schedule and its time zone.
        parameters: what the forms start with, by deployment; "*" for all of them.
        work_pool: where its runs go; None for served ones.
        file: another prefect.yaml.
    """
    form = parameters or {}
    return [
        _deployment(entry, settings, {**form.get("*", {}), **form.get(entry["name"], {})}, work_pool)
        for entry in definitions(file)
    ]


def _deployment(
    entry: dict[str, Any], settings: Settings, parameters: dict[str, Any], work_pool: str | None
) -> RunnerDeployment:
    flow = load_flow(entry["entrypoint"])
    limit = entry.get("concurrency_limit")
    own = entry.get("parameters", {}).get("params", {})
    # Runner deployments accept no tilde expansion or relative schedules; everything else is passed as written.
    return flow.to_deployment(  # type: ignore[return-value]
        name=entry["name"], description=entry["description"], tags=entry.get("tags", []),
        parameters={"params": parameters | own} if parameters or own else {},
        schedules=[_schedule(s, settings) for s in entry.get("schedules", [])] or None,
        concurrency_limit=ConcurrencyLimitConfig(**limit) if isinstance(limit, dict) else limit,
        entrypoint_type=EntrypointType.MODULE_PATH, work_pool_name=work_pool,
        job_variables={"env": dict(environment.DEFAULTS | environment.FORCED)} if work_pool else {},
    )  # fmt: skip


def _schedule(entry: dict[str, Any], settings: Settings) -> Any:
    """A schedule of prefect.yaml; the one called ``nightly`` is the settings' to decide."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    nightly = entry.get("slug") == "nightly"
    cron = settings.prefect.nightly_cron if nightly else entry["cron"]
    timezone = settings.prefect.timezone
    try:
        schedule = CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise ConfigError(
            f"prefect.nightly_cron '{cron}' in time zone '{timezone}' is not a schedule: {error}. "
            'Example: "30 2 * * *" and "Europe/Amsterdam".',
            setting="prefect.nightly_cron",
        ) from None
    return DeploymentScheduleCreate(
        schedule=schedule, active=entry.get("active", True), slug=entry.get("slug"),
        parameters=entry.get("parameters", {}),
    )  # fmt: skip


async def serve(served: Iterable[RunnerDeployment], limit: int, *, ready: Callable[[], None] = lambda: None) -> None:
    """Register deployments with the current server and run what is started, until cancelled.

    Schedules stay active when this ends (``pause_on_shutdown=False``): a restart goes on where it stopped.

    Args:
        served: what to serve.
        limit: flow runs at the same time.
        ready: called once when everything is registered.
    """
    runner = _runner(limit)
    for deployment in served:
        await runner.aadd_deployment(deployment)
    ready()
    await runner.start()


def _runner(limit: int) -> Runner:
    from prefect.runner import Runner

    serving = asyncio.current_task()

    class Cancellable(Runner):
        """Prefect's own SIGTERM handler forgets to await its stop and leaves flow runs behind."""

        def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
            if serving is not None:
                serving.get_loop().call_soon_threadsafe(serving.cancel)

    return Cancellable(name="opendt", pause_on_shutdown=False, limit=limit, query_seconds=POLL_S)


def _words(schedule: Any) -> str:
    return f"{schedule.cron} {schedule.timezone}" if isinstance(schedule, CronSchedule) else str(schedule)


def register(
    settings: Settings,
    *,
    pool: str = WORK_POOL,
    pool_type: str = "process",
    image: str = IMAGE,
    volumes: Sequence[str] = (),
    network: str = "",
    environment: Mapping[str, str] | None = None,
    parameters: Form | None = None,
) -> list[dict[str, Any]]:
    """Create the work pool where absent, apply every deployment to it, register the automations.

    A pool that is there stays as it is, since its template may have been changed in the UI; unless it names no image,
    as one that a worker made before us: its runs would start in Prefect's image, which has no flows of ours.

    Returns:
        One row per deployment: ``name``, ``id``, ``schedule``, ``work_pool``.

    Raises:
        ConfigError: the pool is there with another type.
        TransientError: no Prefect server answers.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import automations
    from flows.server import require_api

    template = job_template(pool_type, environment or {}, image, volumes=volumes, network=network)
    url = require_api(settings.prefect)
    with temporary_settings({PREFECT_API_URL: url}):
        automations.register(settings.prefect)
        with get_client(sync_client=True) as client:
            try:
                there = client.read_work_pool(pool)
                if there.type != pool_type:
                    raise ConfigError(f"work pool {pool} is of type {there.type}, not {pool_type}; give another name.")
                if lacks_image(there.base_job_template):
                    client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))
            except ObjectNotFound:
                try:
                    client.create_work_pool(WorkPoolCreate(name=pool, type=pool_type, base_job_template=template))
                except ObjectAlreadyExists:
                    pass  # somebody else was quicker
        return [
            {
                "name": f"{deployment.flow_name}/{deployment.name}",
                "id": str(deployment.apply()),
                "schedule": "; ".join(_words(s.schedule) for s in deployment.schedules or []),
                "work_pool": pool,
            }
            for deployment in deployments(settings, parameters=parameters, work_pool=pool)
        ]
