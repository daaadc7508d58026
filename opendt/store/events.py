"""Copy the store's changes into the lake, where SQL and time travel can see them."""

from __future__ import annotations

from typing import Any

import orjson

from opendt.lake import Lake
from opendt.store.records import ActiveTopology, Decision, SloVersion
from opendt.store.store import Store


def copy_events(store: Store, lake: Lake) -> int:
    """Write every change the lake has not got yet; returns how many.

    A crash between writing and remembering repeats the write, which replaces the same rows.
    """
    activations, slos, decisions = store.uncopied()
    for table, rows in (
        ("topologies", [_topology_row(activation) for activation in activations]),
        ("slo_events", [_slo_row(slo) for slo in slos]),
        ("decisions", [_decision_row(decision) for decision in decisions]),
    ):
        if rows:
            lake.upsert(table, rows)
    if activations or slos or decisions:
        store.mark_copied(activations, slos, decisions)
    return len(activations) + len(slos) + len(decisions)


def _topology_row(record: ActiveTopology) -> dict[str, Any]:
    return {
        "datacenter": record.datacenter,
        "version": record.version,
        "topology_json": record.topology.to_json().decode(),
        "source": record.source,
        "run_id": record.run_id,
        "created_ms": record.activated_ms,
    }


def _slo_row(record: SloVersion) -> dict[str, Any]:
    return {
        "datacenter": record.datacenter,
        "version": record.version,
        "slo_json": orjson.dumps(record.slo.model_dump()).decode(),
        "source": record.source,
        "created_ms": record.created_ms,
    }


def _decision_row(record: Decision) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Decision.__dataclass_fields__}
