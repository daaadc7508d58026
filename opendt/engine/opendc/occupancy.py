"""How utilised hosts were, from OpenDC's host table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from opendt.engine.base import Occupancy
from opendt.engine.opendc.events import host_places
from opendt.engine.opendc.outputs import between
from opendt.engine.opendc.state import OpenDCState


def occupancy(state: OpenDCState, host: pa.Table | None, start_ms: int | None, end_ms: int) -> Occupancy | None:
    """Hosts per utilisation between two epoch times; None unless it is wanted.

    ``host`` has rows at every sample. At the end of a run two rows can share a time; the first one counts.

    ``mean_weights`` takes each host's mean utilisation over the interval, which OpenDC reports: exact for linear
    curves, and for all curves where utilisation is constant between samples.
    """
    knots = state.options.occupancy_knots
    if host is None or knots == 0:
        return None
    rows = between(host, start_ms, end_ms)
    places = host_places(state.topology)
    groups = tuple(sorted(set(places.values())))
    number = {group: index for index, group in enumerate(groups)}
    times, sample = np.unique(rows["timestamp_absolute"].to_numpy(), return_inverse=True)
    group = np.array([number[places[name]] for name in rows["host_name"].to_pylist()], dtype=np.int64)
    demand, capacity = (rows[c].to_numpy().astype(np.float64) for c in ("cpu_demand", "cpu_capacity"))
    active, idle = (rows[c].to_numpy().astype(np.float64) for c in ("cpu_time_active", "cpu_time_idle"))
    first = _first_of_sample(rows)
    spent = active + idle
    mean = np.divide(active, spent, out=np.minimum(demand / capacity, 1.0), where=spent > 0)
    shape = (len(times), len(groups))
    busy = np.zeros(shape, np.int64)
    np.add.at(busy, (sample[first], group[first]), rows["tasks_running"].to_numpy()[first] > 0)
    return Occupancy(
        timestamp_ms=times.astype(np.int64),
        knots=np.linspace(0.0, 1.0, knots),
        groups=groups,
        weights=_weights(np.minimum(demand / capacity, 1.0)[first], sample[first], group[first], (*shape, knots)),
        mean_weights=_weights(mean[first], sample[first], group[first], (*shape, knots)),
        active_hosts=busy,
    )


def _first_of_sample(rows: pa.Table) -> np.ndarray:
    """Mask of the first row of each host and time; the rows are ordered by both."""
    names = rows["host_name"].to_numpy(zero_copy_only=False).astype(np.str_)
    times = rows["timestamp"].to_numpy()
    first = np.ones(len(rows), np.bool_)
    first[1:] = (times[1:] != times[:-1]) | (names[1:] != names[:-1])
    return first


def _weights(utilisation: np.ndarray, sample: np.ndarray, group: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Hosts split linearly between the two knots around their utilisation, shape (samples, groups, knots), float32."""
    place = np.clip(utilisation, 0.0, 1.0) * (shape[2] - 1)
    lower = np.minimum(place.astype(np.int64), shape[2] - 2)
    upper_share = place - lower
    weights = np.zeros(shape)
    np.add.at(weights, (sample, group, lower), 1.0 - upper_share)
    np.add.at(weights, (sample, group, lower + 1), upper_share)
    return weights.astype(np.float32)
