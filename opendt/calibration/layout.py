"""The linear picture of a cluster: power = features x watts per host.

Per host group the unknowns are the watts of a host at evenly spaced utilisations (a curve, linear in between) and the
extra watts of a host that runs anything. An occupancy is linear in them, so weighted least squares finds all at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt.engine.base import Occupancy
from opendt.errors import TerminalError
from opendt.models.topology import Topology
from opendt.power.curves import power_w, smooth_power_w, step_w
from opendt.power.pricing import group_models, topology_groups

F64 = NDArray[np.float64]

CURVE_KNOTS = 65


@dataclass(frozen=True)
class Layout:
    """Which coefficient is what.

    Coefficients of group ``g``: ``knots`` levels [W] from ``g * knots``; then, after all levels, one step [W] per
    group.

    Attributes:
        groups: (cluster index, host type index) of each group.
        names: "cluster/host type" of each group.
        hosts: hosts in each group.
        prior_w: coefficients as the datasheet (the topology's power models) has them [W].
        max_w: watts of the datasheet at full load per group: the scale of what is plausible [W].
        knots: levels per curve.
    """

    groups: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    hosts: tuple[int, ...]
    prior_w: F64
    max_w: F64
    knots: int = CURVE_KNOTS
    _hats: dict[bytes, F64] = field(default_factory=dict, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return len(self.groups) * (self.knots + 1)

    @property
    def utilizations(self) -> F64:
        """Utilisation at each level [0-1], shape (knots,)."""
        return np.linspace(0.0, 1.0, self.knots)

    def levels(self, group: int) -> slice:
        """Where the curve of a group stands."""
        return slice(group * self.knots, (group + 1) * self.knots)

    def step(self, group: int) -> int:
        """Where the step of a group stands."""
        return len(self.groups) * self.knots + group

    def features(self, occupancy: Occupancy, *, mean: bool) -> F64:
        """Hosts per coefficient at each sample, shape (s, size): ``features @ watts`` is the power [W].

        ``mean`` averages over each sample's interval. Raises ``TerminalError`` for another cluster's occupancy.
        """
        if tuple(occupancy.groups) != self.groups:
            raise TerminalError(
                f"the occupancy has host groups {occupancy.groups}, the calibrator {self.groups}. "
                "Tell the calibrator of a new topology with use_topology.",
                groups=occupancy.groups,
            )
        weights = np.asarray(occupancy.mean_weights if mean else occupancy.weights, np.float64)
        hats = self._hat(np.asarray(occupancy.knots, np.float64))
        levels = (weights @ hats).reshape(len(weights), -1)
        return np.concatenate([levels, np.asarray(occupancy.active_hosts, np.float64)], axis=1)

    def _hat(self, fine: F64) -> F64:
        """Matrix (fine knots, knots) that splits hosts at fine utilisations linearly between the levels."""
        key = fine.tobytes()
        if key not in self._hats:
            identity = np.eye(self.knots)
            self._hats[key] = np.array([np.interp(fine, self.utilizations, row) for row in identity]).T
        return self._hats[key]

    def prior_precision(self, noise_ratio: float, roughness: float = 0.2, doubt: float = 1.0) -> F64:
        """Penalty matrix (size, size): how strongly coefficients are held to a smooth curve near the datasheet.

        The posterior of least squares with relative noise ``noise_ratio`` when second differences of a curve have a
        standard deviation of ``roughness`` and coefficients one of ``doubt`` around the datasheet, both in units
        of the datasheet's full-load watts.
        """
        bend = np.diff(np.eye(self.knots), 2, axis=0)
        precision = np.zeros((self.size, self.size))
        for group, scale_w in enumerate(self.max_w):
            at = self.levels(group)
            precision[at, at] = bend.T @ bend / (roughness * scale_w) ** 2
            precision[at, at] += np.eye(self.knots) / (doubt * scale_w) ** 2
            precision[self.step(group), self.step(group)] = 4.0 / (doubt * scale_w) ** 2
        return noise_ratio**2 * precision


def make_layout(topology: Topology, knots: int = CURVE_KNOTS) -> Layout:
    """The layout of a topology's host types."""
    groups = topology_groups(topology)
    models = group_models(topology, groups)
    at = np.linspace(0.0, 1.0, knots)
    curves = [smooth_power_w(model, at) for model in models]
    steps = [step_w(model) for model in models]
    clusters: Any = topology.clusters
    return Layout(
        groups=groups,
        names=tuple(f"{clusters[c].name}/{clusters[c].hosts[h].name}" for c, h in groups),
        hosts=tuple(clusters[c].hosts[h].count for c, h in groups),
        prior_w=np.concatenate([*curves, steps]),
        max_w=np.array([max(float(np.max(power_w(model, at))), 1.0) for model in models]),
        knots=knots,
    )
