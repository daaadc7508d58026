"""The embedded broker's process: librdkafka's mock cluster, for trying things out without an installation.

``python -m opendt.stream.embedded`` prints its address on stdout and lives until its standard input closes or its
parent dies. Nothing survives it.
"""

from __future__ import annotations

import signal
import sys

from opendt.stream import kafka
from opendt.stream.process import die_with_parent


def main() -> None:
    """Start the cluster, print its address, wait for the end."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    cluster, address = kafka.mock_cluster()
    print(address, flush=True)
    sys.stdin.buffer.read()
    del cluster


if __name__ == "__main__":
    main()
