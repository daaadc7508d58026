"""What was proposed before: it survives restarts in the lake, starts searches and is told to the language model."""

from __future__ import annotations

from typing import Any

import orjson

from opendt.lake import Lake
from opendt.optimize.proposal import NO_OP

MOST = 20


def past_proposals(lake: Lake, datacenter: str, base_version: str, limit: int = MOST) -> tuple[dict[str, Any], ...]:
    """Earlier simulated proposals about the same topology, best first: changes, allocation, strategy, state, effect.

    Their numbers belong to the workload they were simulated on, so they suggest, and are simulated again.
    """
    rows = lake.rows(
        """SELECT changes_json, strategy, state, score, baseline_score, energy_kwh, baseline_energy_kwh, runtime_h
        FROM proposals WHERE datacenter = ? AND strategy <> ? AND score IS NOT NULL AND changes_json <> '{}'
        AND details_json LIKE ? ORDER BY score - baseline_score, created_ms DESC LIMIT ?""",
        [datacenter, NO_OP, f'%"base_version":"{base_version}"%', limit],
    )
    return tuple(_entry(row) for row in rows)


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    changes = orjson.loads(row["changes_json"])
    allocation = changes.pop("allocation", None)
    return {
        "changes": changes,
        "allocation": allocation,
        "strategy": row["strategy"],
        "state": row["state"],
        "score": row["score"],
        "present_score": row["baseline_score"],
        "energy_kwh": row["energy_kwh"],
        "present_energy_kwh": row["baseline_energy_kwh"],
        "runtime_h": row["runtime_h"],
    }
