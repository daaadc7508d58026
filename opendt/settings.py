"""All settings: one class per section, one line of help per field, one reader.

Sources, weakest first: the defaults here (``config/default.yaml`` lists them), the file given with ``--config``,
environment variables ``OPENDT_<SECTION>__<FIELD>``, and the well-known names in ``KNOWN_ENVIRONMENT``.
Other code takes values as arguments and never reads files or the environment for settings.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer

from opendt.errors import ConfigError

PREFIX = "OPENDT_"

# Names other programs use too; each maps to a setting.
KNOWN_ENVIRONMENT: dict[str, str] = {
    "KAFKA_BOOTSTRAP_SERVERS": "stream.bootstrap_servers",
    "OPENDC_HOME": "opendc.home",
    "AWS_ACCESS_KEY_ID": "lake.s3_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "lake.s3_secret_access_key",
    "AWS_REGION": "lake.s3_region",
    "OPENAI_API_KEY": "llm.api_key",
    "OPENAI_BASE_URL": "llm.base_url",
}


class Section(BaseModel):
    """A section: frozen, unknown fields refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _pace(value: float) -> float:
    if value != -1 and not (math.isfinite(value) and value > 0):
        raise ValueError(f"must be a number above 0, or -1 for as fast as possible, not {value:g}")
    return value


# Trace seconds per second. NaN and infinity come as far as the check, for its sentence.
Speed = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_pace)]


class LakeSettings(Section):
    """Where results land."""

    path: Path = Field(Path("data/lake"), description="Folder of the lake: catalogue and Parquet files.")
    catalog: str = Field("", description="Catalogue address; empty for SQLite in the folder, or postgres:dbname=...")
    data_path: str = Field("", description="Where Parquet files go; empty for the folder, or s3://bucket/prefix.")
    busy_timeout_ms: int = Field(10_000, ge=0, description="How long to wait for a locked catalogue [ms].")
    commit_attempts: int = Field(20, ge=1, description="Attempts to commit when another writer got in first.")
    snapshots_keep_days: float = Field(30.0, gt=0, description="Age at which maintain-lake expires snapshots [days].")
    s3_region: str = Field("us-east-1", description="Region of an s3:// data path.")
    s3_endpoint: str = Field("", description="Host and port of an S3-compatible store; empty for AWS.")
    s3_access_key_id: SecretStr = Field(SecretStr(""), description="Access key of an s3:// data path.")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="Secret key of an s3:// data path.")
    s3_path_style: bool = Field(False, description="Whether buckets stand in the path (MinIO) and not in the host.")
    s3_use_tls: bool = Field(True, description="Whether an s3:// data path is reached over TLS.")
    sql_max_rows: int = Field(10_000, ge=1, description="Most rows one SQL statement of a person returns.")
    sql_timeout_s: float = Field(30.0, gt=0, description="Longest one SQL statement of a person may take [s].")
    sql_memory_mb: int = Field(1_024, ge=64, description="Most memory one SQL statement of a person may use [MB].")

    @field_serializer("catalog", when_used="json")
    def _mask_catalog(self, value: str) -> str:
        return re.sub(r"(password=)('[^']*'|\S+)", r"\1**********", value, flags=re.IGNORECASE)


class StoreSettings(Section):
    """Where operational records live (SLOs, approvals, active topology)."""

    url: str = Field("", description="SQLAlchemy URL; empty for SQLite beside the lake.")

    @field_serializer("url", when_used="json")
    def _mask_url(self, value: str) -> str:
        return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1**********@", value)


class TopicSettings(Section):
    """Topic names."""

    workload: str = Field("dc.workload", description="Tasks, fragments and heartbeats.")
    power: str = Field("dc.power", description="Measured power.")
    topology: str = Field("dc.topology", description="Topology as the datacenter reports it (compacted).")
    sim_topology: str = Field("sim.topology", description="Topology the twin simulates (compacted).")
    results: str = Field("sim.results", description="Results per window.")
    deadletter: str = Field("dc.deadletter", description="Records that could not be understood.")
    v0_tasks: str = Field("tasks", description="Task topic of the opendt-v0 layout.")
    v0_fragments: str = Field("fragments", description="Fragment topic of the opendt-v0 layout.")


class StreamSettings(Section):
    """Kafka and replay."""

    bootstrap_servers: str = Field("", description="Kafka brokers host:port,...; empty for the embedded broker.")
    topics: TopicSettings = Field(default_factory=TopicSettings, description="Topic names.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of dc.workload and dc.power.")
    replication_factor: int = Field(1, ge=1, description="Replicas of each topic.")
    retention_hours: float = Field(24.0 * 7, gt=0, description="How long brokers keep records [h].")
    layout: Literal["columns", "opendt-v1", "opendt-v0"] = Field("columns", description="Message layout.")
    chunk_fragments: int = Field(120, ge=1, le=10_000, description="Fragments per message in layout columns.")
    heartbeat_s: float = Field(60.0, gt=0, description="Trace time between heartbeats to every partition [s].")
    speed: Speed = Field(-1.0, description="Trace seconds per second; 1 real time, -1 as fast as possible.")
    embedded_ahead_bytes: int = Field(
        3_000_000, ge=100_000, le=4_500_000,
        description="Most bytes per partition sent ahead of the consumer on the embedded broker [B].",
    )  # fmt: skip
    poll_timeout_s: float = Field(
        30.0, gt=0, description="Silence on all partitions after which a replay counts as lost [s]."
    )
    idle_end_s: float = Field(
        0.0, ge=0, description="Silence after which a stream without end markers counts as ended; 0 for never [s]."
    )
    v0_longest_fragment_s: float = Field(
        300.0, ge=0, description="Longest fragment expected in layout opendt-v0, which sends them when they end [s]."
    )
    max_message_bytes: int = Field(10_000_000, ge=10_000, description="Largest message accepted [B].")
    security: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="librdkafka settings passed through: security.protocol, sasl.*, ssl.*.",
    )  # fmt: skip


class WindowSettings(Section):
    """Event-time windows."""

    length_s: int = Field(3600, gt=0, description="Length of a window in trace time [s].")
    late_policy: Literal["drop", "reopen"] = Field("drop", description="What to do with records of closed windows.")
    allowed_lateness_s: float = Field(
        0.0, ge=0, description="How long a window waits for stragglers after its end, in trace time [s]."
    )
    longest_jump_h: float = Field(
        744.0,
        gt=0,
        description="Largest step of event time between records that is believed; beyond, it is an error [h].",
    )


class EngineSettings(Section):
    """Simulation."""

    name: Literal["native", "opendc"] = Field("native", description="Engine that simulates.")
    sample_interval_s: int = Field(30, gt=0, description="Spacing of power samples [s].")
    host_interval_s: int = Field(
        300, ge=0, description="Spacing of host samples, a multiple of the former; 0 for none [s]."
    )
    scaling: Literal["NoDelay", "Perfect"] = Field("NoDelay", description="What overload does to fragments.")
    allocation: dict[str, Any] = Field(
        default_factory=lambda: {"type": "prefab", "policyName": "Mem"},
        description="OpenDC allocation policy object.",
    )
    seed: int = Field(0, description="Seed of random choices.")


class OpenDCSettings(Section):
    """The OpenDC experiment runner."""

    home: Path | None = Field(None, description="Folder of the runner (holds lib/*.jar).")
    java_home: Path | None = Field(None, description="JDK 21 or newer; empty to search.")
    timeout_s: float = Field(600.0, gt=0, description="Longest run of one JVM [s].")
    parallel: int = Field(1, ge=1, description="JVMs side by side.")
    archive: Path = Field(Path("data/runs"), description="Where inputs and outputs of runs are kept.")
    keep_runs: int = Field(200, ge=0, description="Runs kept in the archive, the oldest go first; 0 for all.")
    cache_mb: int = Field(2_000, ge=0, description="Room for results kept by content, 0 runs everything again [MB].")
    jvm_options: tuple[str, ...] = Field((), description="Further options for Java, for example -Xmx8g.")


class CalibrationSettings(Section):
    """Calibration of the power model."""

    mode: Literal["off", "grid", "bayesian", "online"] = Field("online", description="How to calibrate per window.")
    parameter: str = Field("cpuPowerModel.calibrationFactor", description="Topology property the grid varies.")
    grid_min: float = Field(3.0, gt=0, description="Smallest grid value.")
    grid_max: float = Field(9.0, gt=0, description="Largest grid value.")
    grid_points: int = Field(10, ge=2, le=10_000, description="Grid values, evenly spaced.")
    history_windows: int = Field(1, ge=0, description="Windows of measurements the grid is scored on; 0 for all.")
    space: dict[str, Any] = Field(
        default_factory=dict,
        description="Search space: property path to [low, high], {low, high, log} or {values: [...]}; "
        "empty for the surroundings of the datasheet.",
    )
    trials: int = Field(40, ge=1, le=100_000, description="Trials of one search.")
    batch: int = Field(8, ge=1, le=1_000, description="Trials asked for and simulated together.")
    search_every_windows: int = Field(6, ge=1, description="Windows between two searches in mode bayesian.")
    search_history_windows: int = Field(24, ge=1, description="Windows of measurements a search looks back on.")
    seed: int = Field(0, description="Seed of samplers.")


class OptimizeSettings(Section):
    """Proposals."""

    strategy: Literal["off", "rules", "bayesian", "random", "llm", "tournament"] = Field(
        "rules", description="Who proposes at the end of a run."
    )
    budget: int = Field(50, ge=1, le=100_000, description="Simulations a strategy may spend.")
    vary: list[Literal["hosts", "cores", "speed", "power_cap", "allocation"]] = Field(
        ["hosts", "cores", "speed", "power_cap"],
        description="What a search may change; allocation is not part of a topology, so applying it is up to you.",
    )
    fixed_hosts: list[str] = Field(default_factory=list, description="Host types no proposal may change (names).")
    max_hosts: int | None = Field(None, ge=1, description="Most hosts a proposal may have in all; null for no limit.")
    max_growth_ratio: float = Field(
        1.0, ge=1.0, le=10.0, description="Most hosts, cores and speed per host type relative to the present ones."
    )
    peak_headroom_ratio: float | None = Field(
        None,
        ge=0.0,
        le=10.0,
        description="Least cores of a proposal relative to the peak of cores in use; null: 1, or 0 where a runtime or "
        "queue delay target bounds the waiting.",
    )
    speed_power_exponent: float = Field(
        2.0, ge=0.0, le=3.0, description="How a host's dynamic power follows its core speed (power of the ratio)."
    )
    sample_interval_s: int = Field(300, ge=1, description="Spacing of power samples while searching [s].")
    seed: int = Field(0, ge=0, description="Seed of searches.")
    slo_file: Path | None = Field(None, description="JSON file of objectives, watched while a run goes on.")
    expire_hours: float = Field(72.0, gt=0, description="Age at which an undecided proposal expires [h].")
    auto_approve: bool = Field(False, description="Approve the best proposal by itself, within the limits below.")
    auto_min_saving_pct: float = Field(2.0, ge=0, le=100, description="Least energy saving approved by itself [%].")
    auto_max_hosts_changed_pct: float = Field(
        10.0, ge=0, le=100, description="Most hosts added or removed by an automatic approval [%]."
    )
    auto_max_per_day: int = Field(1, ge=0, description="Most automatic approvals in 24 hours.")


SloMetric = Literal["energy_kwh", "runtime_h", "carbon_kg", "peak_power_kw", "queue_delay_s"]


class SloSettings(Section):
    """Service level objectives; null leaves one out."""

    energy_kwh: float | None = Field(None, gt=0, description="Energy target of a run [kWh].")
    runtime_h: float | None = Field(None, gt=0, description="Runtime target of a run [h].")
    carbon_kg: float | None = Field(None, gt=0, description="Carbon target of a run [kg].")
    peak_power_kw: float | None = Field(None, gt=0, description="Peak power target [kW].")
    queue_delay_s: float | None = Field(None, ge=0, description="Target of the mean wait for a host [s].")
    score: Literal["weighted", "energy-runtime"] = Field(
        "weighted", description="What to minimise: weighted relative deltas, or 2 * energy [kWh] + runtime [h]."
    )
    weights: dict[SloMetric, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {"energy_kwh": 0.6, "runtime_h": 0.4}, description="Weight of each target in the weighted score."
    )


class LlmSettings(Section):
    """Language model."""

    api_key: SecretStr = Field(SecretStr(""), description="API key; empty turns the language model off.")
    base_url: str = Field("", description="OpenAI-compatible address; empty for OpenAI's.")
    model: str = Field("gpt-5-mini", description="Model name.")
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for one answer [s].")
    deadline_s: float = Field(180.0, gt=0, description="Longest conversation, retries included [s].")
    max_retries: int = Field(2, ge=0, le=10, description="Retries after rate limits and server errors.")
    tools: bool = Field(True, description="Let the model ask for simulations; off for servers without tool calls.")
    max_output_tokens: int = Field(4_000, ge=100, description="Token limit of an answer.")
    max_total_tokens: int = Field(60_000, ge=1_000, description="Token limit of a whole conversation.")
    max_cost_usd: float = Field(0.5, ge=0, description="Cost limit of a whole conversation [USD].")
    input_usd_per_million: float = Field(0.25, ge=0, description="Price of a million prompt tokens [USD].")
    output_usd_per_million: float = Field(2.0, ge=0, description="Price of a million answer tokens [USD].")


class ApiSettings(Section):
    """REST API and dashboard."""

    host: str = Field("127.0.0.1", description="Address to bind; a token is required for anything but loopback.")
    port: int = Field(8080, ge=0, le=65535, description="Port.")
    token: SecretStr = Field(
        SecretStr(""),
        description="Bearer token for changes; on loopback, empty makes one and keeps it beside the lake.",
    )
    open_changes: bool = Field(False, description="Whether changes on loopback need no token.")
    public_reads: bool = Field(False, description="Whether reading needs no token when bound to more than loopback.")
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Host names clients may use besides loopback's; empty for any beyond loopback.",
    )
    max_body_bytes: int = Field(5_000_000, ge=10_000, description="Largest request body [B].")
    sql_per_minute: int = Field(120, ge=1, description="SQL statements a client may send per minute.")
    sql_workers: int = Field(2, ge=1, le=32, description="SQL statements at the same time.")
    whatif_per_minute: int = Field(60, ge=1, description="What-if questions a client may ask per minute.")
    whatif_timeout_s: float = Field(
        20.0, gt=0, description="Time after which what-if simulates no further variant [s]."
    )
    max_streams: int = Field(64, ge=1, description="Live streams at the same time.")
    poll_s: float = Field(0.5, gt=0, description="How often live streams look for news in the lake [s].")
    trace: Path = Field(Path("data/traces/demo"), description="Trace that POST /api/start replays.")
    trace_folders: list[Path] = Field(
        default_factory=lambda: [Path("data/traces")], description="Where what-if looks for the trace of a run."
    )


class PrefectSettings(Section):
    """Prefect server started by `opendt up`."""

    host: str = Field("127.0.0.1", description="Address of the server.")
    port: int = Field(4200, ge=1, le=65535, description="Port of the server.")
    retries: int = Field(3, ge=0, description="Retries of a task after a transient error.")
    retry_delay_s: float = Field(2.0, ge=0, description="First delay before a retry; doubles each time [s].")
    nightly_cron: str = Field("30 2 * * *", description="When the nightly calibration runs.")
    timezone: str = Field("UTC", description="Time zone of schedules.")
    zombie_after_s: int = Field(
        90, ge=10, description="Silence of a running flow after which it counts as crashed [s]; it is heard every 30 s."
    )
    webhook_url: SecretStr = Field(
        SecretStr(""), description="Address that gets a POST when a run fails or drifts; empty for none."
    )
    fan_out: Literal["threads", "processes", "dask"] = Field("threads", description="Where batches of trials run.")
    fan_out_workers: int = Field(2, ge=1, le=1024, description="Batches of trials at the same time.")
    dask_address: str = Field("", description="Dask scheduler; empty for a cluster on this machine.")


class TraceSettings(Section):
    """Where traces come from and go to."""

    folder: Path = Field(Path("data/traces"), description="Folder into which `opendt trace fetch` puts traces.")
    base_url: str = Field(
        "https://raw.githubusercontent.com", description="Server of public traces: <url>/<repository>/<commit>/<file>."
    )
    timeout_s: float = Field(30.0, gt=0, description="Longest silence of that server [s].")
    attempts: int = Field(4, ge=1, le=100, description="Attempts per file; each continues where the last one stopped.")


class Settings(Section):
    """Everything."""

    datacenter: str = Field("dc", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Identifier of the datacenter.")
    lake: LakeSettings = Field(default_factory=LakeSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    windows: WindowSettings = Field(default_factory=WindowSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    opendc: OpenDCSettings = Field(default_factory=OpenDCSettings)
    calibration: CalibrationSettings = Field(default_factory=CalibrationSettings)
    optimize: OptimizeSettings = Field(default_factory=OptimizeSettings)
    slo: SloSettings = Field(default_factory=SloSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    prefect: PrefectSettings = Field(default_factory=PrefectSettings)
    traces: TraceSettings = Field(default_factory=TraceSettings)

    def public(self) -> dict[str, Any]:
        """The settings as JSON values, secrets masked; safe to print, log and store."""
        return self.model_dump(mode="json")


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Resolved settings.

    Args:
        config: YAML file that holds only what differs from the defaults.
        overrides: dotted name to value, strongest (command-line options); None values are skipped.
        environment: environment to read; the process's own by default.

    Raises:
        ConfigError: unknown name, wrong type or value out of range; names setting, value and source.
    """
    values: dict[str, Any] = _read_yaml(config) if config else {}
    sources: dict[str, str] = {}
    for name, text, variable in _from_environment(os.environ if environment is None else environment):
        _assign(values, name, text)
        sources[name] = f"environment variable {variable}"
    for name, value in (overrides or {}).items():
        if value is not None:
            _assign(values, name, value)
            sources[name] = "an option or parameter"
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        hint = _hint(name) if first["type"] == "extra_forbidden" else ""
        source = _source(name, sources) or (str(config) if config else "defaults")
        raise ConfigError(
            f"setting {name}: {sentence(first)}{hint} (from {source}). See `opendt config` for names and defaults.",
            setting=name,
        ) from None


def sentence(error: Mapping[str, Any]) -> str:
    """The message of one of pydantic's errors, without what it puts before messages of our own checks."""
    return str(error["msg"]).removeprefix("Value error, ")


def _source(name: str, sources: Mapping[str, str]) -> str:
    """Where a setting came from: its own source, or that of the mapping it is in or of what it holds; else empty."""
    found = [
        source
        for given, source in sources.items()
        if f"{name}.".startswith(f"{given}.") or given.startswith(f"{name}.")
    ]
    return found[-1] if found else ""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path}: cannot be read as YAML ({yaml_problem(error)}). Fix or leave out --config."
        ) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping of sections, not {type(data).__name__}.")
    return data


def yaml_problem(error: Exception) -> str:
    """One line for what is wrong with a YAML file, with the line where that shows."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(getattr(error, "strerror", None) or error).splitlines()[0]
    said = " ".join(text for text in (error.context, error.problem) if text)
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = [
        (name[len(PREFIX) :].lower().replace("__", "."), _scalar(environment[name]), name)
        for name in sorted(environment)
        if name.startswith(PREFIX) and (name == f"{PREFIX}DATACENTER" or "__" in name)
    ]
    found += [(dotted, environment[n], n) for n, dotted in KNOWN_ENVIRONMENT.items() if environment.get(n)]
    return found


def _scalar(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if value is None and text else value


def _assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for part in path:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"setting {part}: must be a mapping to hold {dotted}.")
        values = inner
    values[last] = value


def _hint(name: str) -> str:
    import difflib

    names = [dotted for dotted, _, _ in describe()]
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def describe(model: type[BaseModel] = Settings, prefix: str = "") -> list[tuple[str, Any, str]]:
    """(dotted name, default, help) of every setting, in order."""
    rows: list[tuple[str, Any, str]] = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            rows += describe(type(default), f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", default, field.description or ""))
    return rows
