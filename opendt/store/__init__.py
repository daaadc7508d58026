"""Operational records that people change; versions instead of overwriting."""

from opendt.store.events import copy_events
from opendt.store.records import ActiveTopology, Decision, SloVersion
from opendt.store.store import Store

__all__ = ["ActiveTopology", "Decision", "SloVersion", "Store", "copy_events"]
