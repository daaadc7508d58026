"""Processors, power supplies, power sources and carbon as flow nodes (SEMANTICS 6.3, 6.4, 8.3)."""

from __future__ import annotations

import math
from typing import Any

from opendt.engine.native.exact.distributor import Distributor
from opendt.engine.native.exact.flow import FAR, Consumer, Flow, Link, Node, Supplier
from opendt.models.topology import PowerModel
from opendt.power.curves import power_w

J_PER_KWH = 3_600_000.0


def watts(model: PowerModel, utilization: float) -> float:
    """Power [W] at a utilisation, in OpenDC's arithmetic.

    An emptied host can ask for a tiny negative amount. Like OpenDC, ``mse`` and ``asymptotic`` take it as it is; but
    where a power of it would not be a number (and OpenDC would never end), it counts as 0.
    """
    u = max(utilization, 0.0)
    idle, span = model.idlePower, model.maxPower - model.idlePower
    kind = model.modelType
    if kind == "linear":
        return idle + span * u
    if kind == "mse":
        c = model.calibrationFactor
        u = utilization if c.is_integer() else u
        return idle + span / 100.0 * (2.0 * u - math.pow(u, c)) * 100.0
    if kind == "sqrt":
        return idle + span * math.sqrt(u)
    if kind == "square":
        return idle + span * math.pow(u, 2.0)
    if kind == "cubic":
        return idle + span * math.pow(u, 3.0)
    if kind == "asymptotic":
        v = math.pow(utilization, 3.0) if model.dvfs else utilization
        return idle + (span / 100.0 * 100.0) / 2.0 * (1.0 + v - math.pow(math.e, -v / model.asymUtil))
    return float(power_w(model, u))


def rounded(value: float) -> int:
    """Nearest whole number, halves up."""
    return math.floor(value + 0.5)


class Source(Node, Supplier):
    """A cluster's grid connection: gives whatever is asked, counts energy [J] and emission [g]."""

    __slots__ = ("carbon_g", "counted_ms", "energy_j", "intensity", "power_w", "seen", "user")

    def __init__(self, flow: Flow) -> None:
        self.user: Link | None = None
        self.power_w = 0.0
        self.energy_j = 0.0
        self.carbon_g = 0.0
        self.seen = (0.0, 0.0)  # energy and emission at the last row
        self.intensity = 0.0
        self.counted_ms = flow.now
        super().__init__(flow)

    def on_update(self, now: int) -> int:
        return FAR

    def count(self, now: int) -> None:
        """Count energy and emission up to ``now``."""
        dt, self.counted_ms = now - self.counted_ms, now
        if dt > 0:
            joules = self.power_w * dt * 0.001
            self.energy_j += joules
            self.carbon_g += self.intensity * (joules / J_PER_KWH)

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        if demand != self.power_w:
            self.count(self.flow.now)
            self.power_w = demand
            link.give(demand)

    def on_carbon(self, intensity: float) -> None:
        """The carbon intensity changed."""
        self.count(self.flow.now)
        self.intensity = intensity


class CarbonModel(Node):
    """Walks along the carbon trace and tells its receivers every new value.

    ``starts`` are step times on the simulated clock; the first value also holds before its time.
    """

    __slots__ = ("at", "origin_ms", "receivers", "starts", "values")

    def __init__(self, flow: Flow, starts: list[int], values: list[float], origin_ms: int) -> None:
        self.starts = starts
        self.values = values
        self.origin_ms = origin_ms
        self.at = 0
        self.receivers: list[Any] = []
        super().__init__(flow)

    def tell(self, receiver: Any) -> None:
        """Add a receiver; it hears the first value at once."""
        self.receivers.append(receiver)
        receiver.on_carbon(self.values[self.at])

    def on_update(self, now: int) -> int:
        before = self.at
        while self.at + 1 < len(self.starts) and self.starts[self.at + 1] <= now:
            self.at += 1
        if self.at != before:
            for receiver in self.receivers:
                receiver.on_carbon(self.values[self.at])
        return self.starts[self.at + 1] if self.at + 1 < len(self.starts) else FAR - self.origin_ms

    def forecast(self, size: int) -> list[float]:
        """The values after the current one, up to ``size - 1`` of them as OpenDC counts."""
        low = min(self.at + 1, len(self.values) - 1)
        return self.values[low : min(self.at + size, len(self.values))]


class Psu(Node, Supplier, Consumer):
    """Power supply of a host: sums the demands of its processors, passes power on without loss."""

    __slots__ = ("asked", "counted_ms", "draw_w", "energy_j", "given", "grid", "links", "total_w")

    def __init__(self, flow: Flow, distributor: Distributor) -> None:
        self.counted_ms = flow.now
        self.asked: list[float] = []
        self.given: list[float] = []
        self.links: list[Link] = []
        self.total_w = 0.0
        self.draw_w = 0.0
        self.energy_j = 0.0
        super().__init__(flow)
        self.grid = distributor.join(self)

    def connect(self, processor: Processor) -> Link:
        """Power a processor."""
        link = Link(processor, self)
        link.index = len(self.links)
        self.links.append(link)
        self.asked.append(0.0)
        self.given.append(0.0)
        return link

    def on_update(self, now: int) -> int:
        self.count(now)
        for link in self.links:
            if self.asked[link.index] != self.given[link.index]:
                link.give(self.asked[link.index])
        return FAR

    def count(self, now: int) -> None:
        """Count energy up to ``now``."""
        dt, self.counted_ms = now - self.counted_ms, now
        if dt > 0:
            for supplied in self.given:
                self.energy_j += supplied * dt * 0.001

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        self.count(self.flow.now)
        self.total_w += demand - self.asked[link.index]
        self.asked[link.index] = demand
        self.grid.ask(self.total_w)

    def on_supply(self, link: Link, supply: float) -> None:
        self.count(self.flow.now)
        for processor in self.links:
            given = min(self.asked[processor.index], supply)
            self.draw_w += given - self.given[processor.index]
            self.given[processor.index] = given
            processor.give(given)


class Processor(Node, Supplier, Consumer):
    """A CPU, or one GPU: asks for power, then publishes what it supplies."""

    __slots__ = (
        "active_ms", "capacity", "consumers", "counted_ms", "demand", "idle_ms", "inverse", "model", "overhead", "past",
        "past_from", "plug", "received_w", "steal_ms", "supplied", "user", "wanted_w",
    )  # fmt: skip

    def __init__(self, flow: Flow, psu: Psu, capacity: float, model: PowerModel) -> None:
        self.capacity = capacity
        self.inverse = 1 / capacity
        self.model = model
        self.overhead: tuple[str, float] = ("NONE", 0.0)
        self.demand = 0.0
        self.supplied = 0.0
        self.wanted_w = watts(model, 0.0)
        self.received_w = 0.0
        self.consumers = 0
        self.past: list[tuple[int, float]] = []  # how long at which utilisation since the last sample
        self.past_from = flow.now
        self.counted_ms = flow.now
        self.active_ms = 0
        self.idle_ms = 0
        self.steal_ms = 0
        self.user: Link | None = None
        super().__init__(flow)
        self.plug = psu.connect(self)

    def feed(self, distributor: Distributor, port: int) -> None:
        """Supply a distributor."""
        self.user = Link(distributor, self, port)
        distributor.add_supplier(self.user, self.capacity)

    def count(self, now: int) -> None:
        """Count processor times up to ``now``, rounding every time."""
        dt, self.counted_ms = now - self.counted_ms, now
        if dt > 0:
            share = self.inverse * dt
            self.active_ms += rounded(self.supplied * share)
            self.idle_ms += rounded((self.capacity - self.supplied) * share)
            self.steal_ms += rounded((self.demand - self.supplied) * share)

    def on_update(self, now: int) -> int:
        self.count(now)
        if self.wanted_w != self.received_w:
            self.plug.ask(self.wanted_w)
            return FAR
        self.supplied = self._after_overhead(min(self.demand, self.capacity))
        if self.user is not None:
            self.user.give(self.supplied, always=True)
        return FAR

    def _after_overhead(self, supply: float) -> float:
        kind, share = self.overhead
        if kind == "CONSTANT":
            return supply * (1 - share)
        if kind == "SHARE_BASED":
            return supply / (self.consumers or 1)
        return supply

    def change(self, capacity: float, model: PowerModel) -> None:
        """Be another processor from now on."""
        now = self.flow.now
        self.count(now)
        self.remember(now)
        self.capacity, self.inverse, self.model = capacity, 1 / capacity, model
        self.wanted_w = watts(model, min(self.demand / capacity, 1.0))
        self.invalidate()

    def remember(self, now: int) -> None:
        """Note the utilisation since the last change."""
        dt, self.past_from = now - self.past_from, now
        if dt > 0:
            self.past.append((dt, min(max(self.demand, 0.0) / self.capacity, 1.0)))

    def take_past(self, now: int) -> list[tuple[int, float]]:
        """The utilisations since the last call, as (ms, ratio)."""
        self.remember(now)
        past, self.past = self.past, []
        return past

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        self.count(self.flow.now)
        self.remember(self.flow.now)
        self.demand = demand
        self.consumers = consumers
        self.wanted_w = watts(self.model, min(demand / self.capacity, 1.0))
        self.invalidate()

    def on_supply(self, link: Link, supply: float) -> None:
        self.count(self.flow.now)
        self.received_w = supply
        self.invalidate()
