"""The embedded broker's process: librdkafka's mock cluster, for trying things out without an installation.

``python -m opendt.stream.embedded`` prints its address on stdout and lives until its standard input closes or its
parent dies. Nothing survives it.
"""

from __future__ import annotations

import os
import sys

from opendt.stream import kafka
from opendt.stream.process import leave_signals_to_parent


def main() -> None:
    """Start the cluster, print its address, wait for the end."""
    leave_signals_to_parent(lambda: os._exit(0))
    cluster, address = kafka.mock_cluster()
    print(address, flush=True)
    sys.stdin.buffer.read()
    del cluster


if __name__ == "__main__":
    main()
