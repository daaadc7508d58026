"""`opendt api` in a process of its own: it answers, says where, and stops when told."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from opendt.api.serve import serve
from opendt.errors import ConfigError

from .conftest import make_settings


def test_serves_until_told_to_stop(filled_lake: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from opendt.cli import main; main()",
        "api",
        "--port",
        "0",
        "--lake",
        str(filled_lake),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = [server.stdout.readline(), server.stdout.readline()]
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", said[0])
        assert address, said
        token = re.search(r"#token=(\S+)", said[1])
        assert token, said
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=30)
        connection.request("GET", "/api/power?interval_seconds=3600")
        assert json.loads(connection.getresponse().read())["metadata"]["count"] == 6
        connection.request("POST", "/api/stop", headers={"Authorization": f"Bearer {token[1]}"})
        assert connection.getresponse().status == 200
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot be bound"):
            serve(make_settings(tmp_path, port=taken.getsockname()[1]), say=lambda text: None)
