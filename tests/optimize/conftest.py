"""Fixtures of this area: builders by name, so that tests need no imports between test files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("optimize_builders", Path(__file__).with_name("builders.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["optimize_builders"] = _module
_spec.loader.exec_module(_module)
