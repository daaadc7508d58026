"""A cluster's battery, what connects it, and the policies that drive it (SEMANTICS 8.4)."""

from __future__ import annotations

import math

from opendt.engine.native.exact.distributor import Distributor
from opendt.engine.native.exact.flow import FAR, Consumer, Flow, Link, Node, Supplier
from opendt.errors import TopologyError
from opendt.models.topology import Battery as BatteryModel
from opendt.models.topology import BatteryPolicy as PolicyModel

J_PER_KWH = 3_600_000
IDLE, CHARGING, DISCHARGING = "IDLE", "CHARGING", "DISCHARGING"
GRID, BATTERY = 0, 1  # ports of the aggregator
_YEAR_MS = 365.0 * 24.0 * 60.0 * 60.0 * 1000.0


class Battery(Node, Supplier, Consumer):
    """Stores energy: ``charge_j`` of ``capacity_j``; ``given_w`` goes to the hosts."""

    __slots__ = (
        "asked_w", "capacity_j", "charge_j", "charging_w", "counted_ms", "embodied_g", "embodied_rate", "energy_j",
        "given_w", "grid", "policy", "received_w", "seen", "state", "user",
    )  # fmt: skip

    def __init__(self, flow: Flow, model: BatteryModel, grid: Distributor) -> None:
        self.capacity_j = model.capacity * J_PER_KWH
        self.charge_j = model.initialCharge * J_PER_KWH
        self.charging_w = model.chargingSpeed
        lifetime_ms = model.expectedLifetime * _YEAR_MS
        self.embodied_rate = model.embodiedCarbon * 1000 / lifetime_ms if lifetime_ms else math.nan
        self.embodied_g = 0.0
        self.energy_j = 0.0
        self.seen = (0.0, 0.0)  # energy and embodied carbon at the last row
        self.state = IDLE
        self.asked_w = 0.0
        self.given_w = 0.0
        self.received_w = 0.0
        self.counted_ms = flow.now
        self.policy: Policy | None = None
        self.user: Link | None = None
        super().__init__(flow)
        self.grid = grid.join(self)

    @property
    def full(self) -> bool:
        return self.charge_j >= self.capacity_j

    @property
    def empty(self) -> bool:
        return self.charge_j <= 0.0

    def count(self, now: int) -> None:
        """Count charge, energy delivered and embodied carbon up to ``now``."""
        dt, self.counted_ms = now - self.counted_ms, now
        self.embodied_g += self.embodied_rate * dt
        if self.state == CHARGING:
            self.charge_j += self.received_w * (dt / 1000.0)
        elif self.state == DISCHARGING:
            self.charge_j -= self.given_w * (dt / 1000.0)
        if dt > 0:
            self.energy_j += self.given_w * dt * 0.001

    def on_update(self, now: int) -> int:
        self.count(now)
        if self.state == IDLE:
            return FAR
        if (self.state == CHARGING and self.full) or (self.state == DISCHARGING and self.empty):
            assert self.policy is not None
            self.policy.invalidate()
            return FAR
        if self.state == DISCHARGING:
            self._give(self.asked_w)
        return now + self._time_left() if self._time_left() < FAR else FAR

    def _time_left(self) -> int:
        if self.state == CHARGING and self.received_w > 0.0:
            return math.ceil((self.capacity_j - self.charge_j) / self.received_w * 1000)
        if self.state == DISCHARGING and self.given_w > 0.0:
            return math.ceil(self.charge_j / self.given_w * 1000)
        return FAR

    def switch(self, state: str) -> None:
        """Charge, discharge or rest from now on."""
        if state == self.state:
            return
        self.count(self.flow.now)
        self.state = state
        self.grid.ask(self.charging_w if state == CHARGING else 0.0)
        if state != DISCHARGING:
            self._give(0.0)
        self.invalidate()

    def _give(self, power_w: float) -> None:
        self.given_w = power_w
        assert self.user is not None
        self.user.give(power_w)

    def on_supply(self, link: Link, supply: float) -> None:
        self.received_w = supply
        self.invalidate()

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        self.asked_w = demand
        self.invalidate()


class Aggregator(Node, Supplier, Consumer):
    """Draws the hosts' power from the grid or from the battery."""

    __slots__ = ("asked_w", "from_battery", "links", "needs_demand", "received", "received_w", "user")

    def __init__(self, flow: Flow, battery: Battery, grid: Distributor) -> None:
        self.asked_w = 0.0
        self.received_w = 0.0
        self.received = [0.0, 0.0]
        self.from_battery = False
        self.needs_demand = False
        self.user: Link | None = None
        super().__init__(flow)
        to_grid = grid.join(self)
        to_grid.port = GRID
        to_battery = Link(self, battery, BATTERY)
        battery.user = to_battery
        self.links = [to_grid, to_battery]

    def on_update(self, now: int) -> int:
        if self.needs_demand:
            used, unused = (BATTERY, GRID) if self.from_battery else (GRID, BATTERY)
            self.links[unused].ask(0.0)
            self.links[used].ask(self.asked_w)
            self.needs_demand = False
            self.invalidate()
        elif self.user is not None:
            self.user.give(self.received_w)
        return FAR

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        self.asked_w = demand
        self.needs_demand = True
        self.invalidate()

    def on_supply(self, link: Link, supply: float) -> None:
        self.received_w += supply - self.received[link.port]
        self.received[link.port] = supply
        self.invalidate()

    def draw_from(self, *, battery: bool) -> None:
        """Change where the hosts' power comes from."""
        if self.from_battery != battery:
            self.from_battery = battery
            self.needs_demand = True
            self.invalidate()


class Policy(Node):
    """Decides by carbon intensity whether to charge, discharge or rest; evaluated when told a new intensity and when
    the battery becomes full or empty."""

    __slots__ = ("aggregator", "battery", "charging", "intensity", "model", "past", "past_sum", "previous", "state")

    def __init__(self, flow: Flow, model: PolicyModel, battery: Battery, aggregator: Aggregator) -> None:
        if model.type in ("runningMedian", "runningQuartiles"):
            raise TopologyError(
                f"battery policy {model.type} does not work in OpenDC either; use single, double, runningMean or "
                "runningMeanPlus.",
                policy=model.type,
            )
        self.model = model
        self.battery = battery
        self.aggregator = aggregator
        self.intensity = 0.0
        self.state = IDLE
        self.charging = False
        self.previous = 0.0
        self.past: list[float] = []
        self.past_sum = 0.0
        if model.type.startswith("running"):
            self._remember(model.startingThreshold or 0.0)
        super().__init__(flow)
        battery.policy = self

    def _remember(self, intensity: float) -> None:
        if len(self.past) == (self.model.windowSize or 1):
            self.past_sum -= self.past.pop(0)
        if self.past:
            self.previous = self.past[-1]
        self.past.append(intensity)
        self.past_sum += intensity

    def on_carbon(self, intensity: float) -> None:
        """The carbon intensity changed."""
        if self.model.type.startswith("running"):
            self._remember(intensity)
        if intensity != self.intensity:
            self.intensity = intensity
            self.invalidate()

    def on_update(self, now: int) -> int:
        self._switch(self._wanted())
        return FAR

    def _wanted(self) -> str:
        now, kind = self.intensity, self.model.type
        low = high = 0.0
        if kind == "single":
            low = high = self.model.carbonThreshold or 0.0
        elif kind == "double":
            low, high = self.model.lowerThreshold or 0.0, self.model.upperThreshold or 0.0
        else:
            low = high = self.past_sum / len(self.past)
        above = now > high if kind == "double" else now >= high
        if above and not self.battery.empty:
            self.charging = False
            return DISCHARGING
        rises = kind != "runningMeanPlus" or now >= self.previous or self.charging
        if now < low and not self.battery.full and rises:
            return CHARGING
        self.charging = False
        return IDLE

    def _switch(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.battery.switch(state)
            self.aggregator.draw_from(battery=state == DISCHARGING)
