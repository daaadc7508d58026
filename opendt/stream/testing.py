"""A real Apache Kafka on this machine, for tests and benchmarks: one KRaft node from Maven artifacts.

Needs Java 17 or newer and Maven. Artifacts are resolved once into a cache folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opendt.errors import BrokerUnavailableError, MissingDependencyError
from opendt.settings import StreamSettings
from opendt.stream import kafka
from opendt.stream.process import die_with_parent

KAFKA = "4.1.1"
LOG4J = "2.24.3"
SASL_PASSWORD = "local-only-5ecret"
_START_S = 60.0

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.opendt</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version>
    </dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>{LOG4J}</version>
    </dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J}</version></dependency>
  </dependencies>
</project>
"""


def missing() -> str:
    """Why no real broker can be started here, or an empty text."""
    java = shutil.which("java")
    if java is None:
        return "Java 17 or newer is not installed"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version.group(1)) < 17:
        return f"Java 17 or newer is needed, found {said.splitlines()[0] if said else 'none'}"
    if shutil.which("mvn") is None:
        return "Maven is not installed"
    return ""


def resolve(cache: Path) -> Path:
    """Folder with Kafka's jars, filled by Maven the first time.

    Raises:
        MissingDependencyError: no Java or Maven, or Maven failed.
    """
    reason = missing()
    if reason:
        raise MissingDependencyError(f"no Kafka for tests: {reason}.")
    jars = cache / f"kafka-{KAFKA}"
    if (jars / ".complete").exists():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        (Path(folder) / "pom.xml").write_text(_POM)
        command = [
            "mvn",
            "-B",
            "-q",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=jars",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MissingDependencyError(f"Maven could not fetch Kafka {KAFKA}: {done.stdout[-500:]}")
        (Path(folder) / "jars" / ".complete").touch()
        try:
            (Path(folder) / "jars").rename(jars)
        except OSError:
            if not (jars / ".complete").exists():  # else another process was faster
                raise
    return jars


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalKafka:
    """One broker. ``start``, ``kill`` and ``start`` again keep its data and address."""

    def __init__(self, jars: Path, folder: Path) -> None:
        self._jars, self._folder = jars, folder
        self._port, self._controller, self._sasl_port = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._format()

    @property
    def address(self) -> str:
        """``bootstrap_servers``."""
        return f"127.0.0.1:{self._port}"

    @property
    def sasl_address(self) -> str:
        """``bootstrap_servers`` where SASL PLAIN as user ``twin`` with ``SASL_PASSWORD`` is required."""
        return f"127.0.0.1:{self._sasl_port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def _java(self, *arguments: str) -> list[str]:
        return ["java", "-cp", f"{self._jars}/*", *arguments]

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "log4j2.properties").write_text("status=error\nrootLogger.level=off\n")
        properties = self._folder / "server.properties"
        properties.write_text("\n".join(f"{k}={v}" for k, v in self._settings().items()))
        tool = "kafka.tools.StorageTool"
        uuid = subprocess.run(self._java(tool, "random-uuid"), capture_output=True, text=True, check=True)
        cluster = uuid.stdout.split()[-1]
        command = self._java(tool, "format", "--standalone", "-t", cluster, "-c", str(properties))
        subprocess.run(command, capture_output=True, check=True)

    def _settings(self) -> dict[str, str]:
        local = f"PLAINTEXT://127.0.0.1:{self._port},SASL://127.0.0.1:{self._sasl_port}"
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        ones = (
            "offsets.topic.replication.factor", "transaction.state.log.replication.factor",
            "transaction.state.log.min.isr", "share.coordinator.state.topic.replication.factor",
            "share.coordinator.state.topic.min.isr", "offsets.topic.num.partitions",
        )  # fmt: skip
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller}",
            "listeners": f"{local},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": local,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT",
            "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_twin="{SASL_PASSWORD}";',
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "message.max.bytes": "10485760",
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "4000",  # until then a killed broker may not come back; less, and a busy
            "broker.heartbeat.interval.ms": "500",  # machine has it fenced now and then
            **dict.fromkeys(ones, "1"),
        }

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            BrokerUnavailableError: it does not answer in a minute.
        """
        configuration = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        command = self._java("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", configuration, "kafka.Kafka")
        self._process = subprocess.Popen(
            [*command, str(self._folder / "server.properties")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),
        )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise BrokerUnavailableError(f"Kafka did not start (exit code {self._process.poll()}).")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 0.2).close()
        except OSError:
            return False
        try:
            client = kafka.admin(StreamSettings(bootstrap_servers=self.address))
            kafka.cluster_id(client, StreamSettings(bootstrap_servers=self.address))
        except BrokerUnavailableError:
            return False
        return True

    def kill(self) -> None:
        """End it without warning, as a crash would."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def local_kafka(cache: Path) -> Iterator[LocalKafka]:
    """A running broker on free loopback ports with a data folder of its own, both gone afterwards."""
    jars = resolve(cache)
    with tempfile.TemporaryDirectory(prefix="opendt-kafka-") as folder:
        server = LocalKafka(jars, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
