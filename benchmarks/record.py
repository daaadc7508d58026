"""What every measurement is kept with: where, on which code, beside how much other work."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def surroundings() -> dict[str, Any]:
    """Commit, machine and the load of the minute before. Taken before measuring, which is load itself."""
    commit = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "commit": subprocess.run(commit, capture_output=True, text=True, cwd=ROOT, check=False).stdout.strip(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_at_start": load_average(),
    }


def load_average() -> float:
    """Processes that ran or waited for a core during the last minute, on average."""
    return round(os.getloadavg()[0], 1)


def publish(result: dict[str, Any], out: Path | None) -> None:
    """Print a result as JSON, and write it where one is to be kept."""
    text = json.dumps(result, indent=2)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
