"""The embedded broker as a context manager: Kafka for trying things out, in a helper process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from opendt.errors import BrokerUnavailableError
from opendt.settings import StreamSettings


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Address (host:port) of a broker that lives as long as the block, or this process if that ends sooner.

    It is librdkafka's mock cluster: nothing survives it, every topic has 4 partitions, and it forgets the oldest
    records of a partition beyond 5 MiB, which is why a replay waits for its consumer there.

    Raises:
        BrokerUnavailableError: the helper process did not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "opendt.stream.embedded"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().decode().strip()
        if not address:
            raise BrokerUnavailableError(
                f"the embedded broker did not start (exit code {process.wait(5)}). "
                "Try `python -m opendt.stream.embedded`, or set KAFKA_BOOTSTRAP_SERVERS."
            )
        yield address
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def broker(settings: StreamSettings) -> Iterator[StreamSettings]:
    """Stream settings with an address: as given where ``bootstrap_servers`` is set, else an embedded broker's."""
    if settings.bootstrap_servers:
        yield settings
        return
    with embedded_broker() as address:
        yield settings.model_copy(update={"bootstrap_servers": address})
