"""Helpers of this area under names of their own, so that tests can import them whatever the import mode."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

for _name in ("builders", "llm_server"):
    _spec = importlib.util.spec_from_file_location(f"optimize_{_name}", Path(__file__).with_name(f"{_name}.py"))
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_spec.name] = _module
    _spec.loader.exec_module(_module)
