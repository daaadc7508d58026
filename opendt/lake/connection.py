"""DuckDB connections with the lake attached.

Extensions are loaded by path from the installed packages ``duckdb-extension-*``: nothing is downloaded and nothing
is copied into the home directory, which may not exist.
"""

from __future__ import annotations

import importlib
from datetime import datetime
from functools import cache
from pathlib import Path

import duckdb

from opendt.errors import LakeError, MissingDependencyError
from opendt.lake.retry import as_lake_error, cannot_write
from opendt.lake.unwritable import complete_but_unwritable, readable_copy
from opendt.settings import LakeSettings

NAME = "lake"
CATALOG_FILE = "catalog.sqlite"
DATA_FOLDER = "data"


def catalog_file(settings: LakeSettings) -> Path | None:
    """The SQLite catalogue of a lake, or None when the catalogue is elsewhere."""
    return None if settings.catalog else Path(settings.path) / CATALOG_FILE


def data_path(settings: LakeSettings) -> str:
    """Where Parquet files go, with a slash at the end."""
    where = settings.data_path or str(Path(settings.path).absolute() / DATA_FOLDER)
    return where.rstrip("/") + "/"


def lake_exists(settings: LakeSettings) -> bool:
    """Whether there is a lake to read; True without looking when the catalogue is on a server."""
    file = catalog_file(settings)
    return file is None or file.is_file()


class NoLakeError(LakeError):
    """There is no lake to read. Facts: ``path``."""


def require_lake(settings: LakeSettings) -> None:
    """Raise ``NoLakeError`` when there is no lake to read."""
    if not lake_exists(settings):
        raise NoLakeError(
            f"{settings.path}: there is no lake here. Write one with `opendt run --lake {settings.path}`, "
            "or name another folder with --lake.",
            path=str(settings.path),
        )


def attach_sql(
    settings: LakeSettings,
    *,
    read_only: bool = False,
    as_of: int | datetime | None = None,
    file: Path | None = None,
) -> str:
    """The statement that attaches the lake in any DuckDB client.

    Args:
        as_of: snapshot number, or the moment whose state is wanted.
        file: SQLite catalogue to read instead of the lake's own.
    """
    options = [f"DATA_PATH {quote(data_path(settings))}", "OVERRIDE_DATA_PATH TRUE"]
    if settings.catalog:
        address = settings.catalog
    else:
        address = f"sqlite:{file or Path(settings.path).absolute() / CATALOG_FILE}"
        options += ["META_JOURNAL_MODE 'WAL'", f"META_BUSY_TIMEOUT {settings.busy_timeout_ms}"]
    if isinstance(as_of, datetime):
        options.append(f"SNAPSHOT_TIME {quote(as_of.isoformat())}")
    elif as_of is not None:
        options.append(f"SNAPSHOT_VERSION {int(as_of)}")
    if read_only:
        options += ["READ_ONLY", "CREATE_IF_NOT_EXISTS FALSE"]
    return f"ATTACH {quote('ducklake:' + address)} AS {NAME} ({', '.join(options)})"


def connect(
    settings: LakeSettings,
    *,
    read_only: bool = False,
    as_of: int | datetime | None = None,
    threads: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake attached as ``lake`` and chosen as default.

    Raises:
        NoLakeError: there is no lake to read.
        LakeError: the catalogue refuses.
        LakeBusyError: the catalogue is locked or its server does not answer.
        MissingDependencyError: an extension package is not installed.
    """
    if read_only:
        require_lake(settings)
    if not read_only and not settings.catalog:
        _make_folder(Path(settings.path))
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",  # a table's name never means a Python variable
    }
    if threads:
        config["threads"] = str(threads)
    connection = duckdb.connect(":memory:", config=config)
    try:
        for name in extensions(settings):
            connection.execute(f"LOAD {quote(str(extension_file(name)))}")
        _create_secret(connection, settings)
        _attach(connection, settings, read_only, as_of)
        prepare(connection)
    except duckdb.Error as error:
        connection.close()
        raise as_lake_error(error, f"cannot open the lake at {_where(settings)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(
    connection: duckdb.DuckDBPyConnection, settings: LakeSettings, read_only: bool, as_of: int | datetime | None
) -> None:
    try:
        connection.execute(attach_sql(settings, read_only=read_only, as_of=as_of))
    except duckdb.Error as error:
        file = catalog_file(settings)
        if not (read_only and file and cannot_write(error) and complete_but_unwritable(file)):
            raise
        connection.execute(attach_sql(settings, read_only=True, as_of=as_of, file=readable_copy(file)))


def prepare(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Settings that belong to one connection (a cursor starts without them)."""
    connection.execute(f"SET TimeZone = 'UTC'; USE {NAME}")
    return connection


def extensions(settings: LakeSettings) -> tuple[str, ...]:
    """Names of the extensions a lake needs."""
    names = ["ducklake", "postgres_scanner" if settings.catalog else "sqlite_scanner"]
    if settings.data_path.startswith("s3://"):
        names.append("httpfs")
    return tuple(names)


@cache
def extension_file(name: str) -> Path:
    """The file of an extension in its installed package. Raises ``MissingDependencyError``."""
    package = f"duckdb-extension-{name.replace('_', '-')}"
    try:
        module = importlib.import_module(f"duckdb_extension_{name}")
    except ImportError:
        raise MissingDependencyError(
            f"The DuckDB extension {name} is not installed. Run `pip install {package}=={duckdb.__version__}`.",
            package=package,
        ) from None
    folder = Path(str(module.__file__)).parent / "extensions" / f"v{duckdb.__version__}"
    file = folder / f"{name}.duckdb_extension"
    if not file.is_file():
        raise MissingDependencyError(
            f"{package} was built for another DuckDB than the installed {duckdb.__version__}. "
            f"Run `pip install {package}=={duckdb.__version__}`.",
            package=package,
        )
    return file


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _where(settings: LakeSettings) -> str:
    return settings.model_dump(mode="json")["catalog"] or str(settings.path)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeError(f"{path}: cannot make the lake's folder ({error}). Name another one with --lake.") from None


def _create_secret(connection: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
    if not settings.data_path.startswith("s3://"):
        return
    options = ["TYPE s3", f"REGION {quote(settings.s3_region)}", f"USE_SSL {settings.s3_use_tls}"]
    if settings.s3_access_key_id.get_secret_value():
        options.append(f"KEY_ID {quote(settings.s3_access_key_id.get_secret_value())}")
        options.append(f"SECRET {quote(settings.s3_secret_access_key.get_secret_value())}")
    if settings.s3_endpoint:
        options.append(f"ENDPOINT {quote(settings.s3_endpoint)}")
    options.append(f"URL_STYLE {quote('path' if settings.s3_path_style else 'vhost')}")
    connection.execute(f"CREATE SECRET lake_store ({', '.join(options)})")
