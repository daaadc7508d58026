"""Sharing among consumers: host processors among tasks, power among hosts (SEMANTICS 5.7, 6.2, 10.6)."""

from __future__ import annotations

import math

from opendt.engine.native.exact.flow import FAR, Consumer, Flow, Link, Node, Supplier


class IndexSet:
    """Visits small integers in the order of a Java hash set: by (number mod slots), then by insertion."""

    __slots__ = ("members", "slots")

    def __init__(self, members: list[int] | None = None) -> None:
        self.members: dict[int, None] = {}
        self.slots = 16
        for member in members or ():
            self.add(member)

    def add(self, member: int) -> None:
        """Insert, once; the table doubles when more than three quarters full."""
        self.members[member] = None
        while len(self.members) > 0.75 * self.slots:
            self.slots *= 2

    def ordered(self) -> list[int]:
        """The members in visiting order."""
        if len(self.members) < 2:
            return list(self.members)
        slots = self.slots
        return sorted(self.members, key=lambda member: member % slots)

    def clear(self) -> None:
        """Forget the members; the table keeps its size."""
        self.members.clear()

    def without(self, gone: int) -> IndexSet:
        """A new set after consumer ``gone`` left and later ones moved down."""
        self.members.pop(gone, None)
        return IndexSet([m - 1 if m > gone else m for m in self.ordered()])


def fair_shares(demands: list[float], available: float) -> list[float]:
    """Max-min fair shares of ``available``; same units and length as ``demands``."""
    shares = [0.0] * len(demands)
    left = len(demands)
    for index in sorted(range(left), key=demands.__getitem__):
        demand = demands[index]
        if demand != 0.0:
            share = min(demand, available / left)
            shares[index] = share
            available -= share
        left -= 1
    return shares


class Distributor(Node, Supplier, Consumer):
    """Max-min fair sharing of what the suppliers give."""

    __slots__ = (
        "asked", "capacity", "current", "links", "needs_demand", "out", "over", "supplied", "suppliers", "total",
        "updated",
    )  # fmt: skip

    def __init__(self, flow: Flow) -> None:
        self.links: list[Link] = []
        self.asked: list[float] = []  # demand of each consumer
        self.out: list[float] = []  # supply last sent to each consumer
        self.suppliers: dict[int, Link] = {}
        self.current: dict[int, float] = {}  # supply last received from each supplier
        self.capacity = 0.0
        self.total = 0.0
        self.supplied = 0.0
        self.needs_demand = False
        self.over = False
        self.updated = IndexSet()
        super().__init__(flow)

    def add_supplier(self, link: Link, capacity: float) -> None:
        """Draw on a supplier of this capacity."""
        self.suppliers[link.port] = link
        self.current[link.port] = 0.0
        self.capacity += capacity

    def join(self, consumer: Consumer) -> Link:
        """A new consumer, last in order."""
        link = Link(consumer, self)
        link.index = len(self.links)
        self.links.append(link)
        self.asked.append(0.0)
        self.out.append(0.0)
        self.needs_demand = True
        return link

    def leave(self, link: Link) -> None:
        """A consumer goes; later ones move down by one."""
        gone = link.index
        self.total -= link.demand
        del self.links[gone], self.asked[gone], self.out[gone]
        for other in self.links[gone:]:
            other.index -= 1
        self.updated = self.updated.without(gone)
        self.needs_demand = True
        self.invalidate()

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        self.total += demand - self.asked[link.index]
        self.asked[link.index] = demand
        self.updated.add(link.index)
        self.needs_demand = True
        self.invalidate()

    def on_supply(self, link: Link, supply: float) -> None:
        self.supplied += supply - self.current[link.port]
        self.current[link.port] = supply
        self.invalidate()

    def on_update(self, now: int) -> int:
        if self.needs_demand:
            self.send_demand()
        elif self.links:
            self.send_supplies()
        return FAR

    def send_demand(self) -> None:
        """Pass the total demand on."""
        for link in self.suppliers.values():
            link.ask(self.total / len(self.suppliers), len(self.links))
        self.needs_demand = False
        self.invalidate()

    def send_supplies(self) -> None:
        """Hand out what the suppliers give."""
        if self.total > self.supplied:
            self.over = True
            for index, share in enumerate(fair_shares(self.asked, self.supplied)):
                self.send(index, share)
        elif self.over:
            for index in range(len(self.links)):
                self.send(index, self.asked[index])
            self.over = False
        else:
            for index in self.updated.ordered():
                self.send(index, self.asked[index])
        self.updated.clear()

    def send(self, index: int, supply: float) -> None:
        """Send a consumer its supply, if it changed."""
        if self.out[index] != supply:
            self.out[index] = supply
            self.links[index].give(supply)


class EqualShare(Distributor):
    """Every consumer gets the same part of the full capacity, whatever it asks for."""

    __slots__ = ()

    def send_demand(self) -> None:
        for link in self.suppliers.values():
            link.ask(self.capacity / len(self.suppliers), len(self.links))
        self.needs_demand = False

    def send_supplies(self) -> None:
        for index in range(len(self.links)):
            self.send(index, self.capacity / len(self.links))


class FirstFit(Distributor):
    """Consumers are served in order from suppliers in order."""

    __slots__ = ()

    def send_demand(self) -> None:
        left = self.total
        share = self.capacity / len(self.suppliers)
        for port in sorted(self.suppliers):
            part = min(max(left, 0.0), share)
            self.suppliers[port].ask(part, len(self.links))
            left = left - part if part == share else 0.0
        self.needs_demand = False

    def send_supplies(self) -> None:
        left = [self.current[port] for port in self.current]
        for index, demand in enumerate(self.asked):
            given = 0.0
            for port, available in enumerate(left):
                part = min(available, demand - given) if demand > given and available > 0 else 0.0
                given += part
                left[port] = available - part
            self.send(index, given)


class FixedShare(Distributor):
    """Consumers get ``ratio`` of the capacity each, in turns when there is not enough for all."""

    __slots__ = ("ratio", "skipped")

    def __init__(self, flow: Flow, ratio: float) -> None:
        self.ratio = ratio
        self.skipped: list[int] = []
        super().__init__(flow)

    @property
    def share(self) -> float:
        return self.ratio * self.capacity / len(self.suppliers)

    def send_demand(self) -> None:
        for link in self.suppliers.values():
            link.ask(self.share, len(self.links))
        self.needs_demand = False
        self.invalidate()

    def leave(self, link: Link) -> None:
        gone = link.index
        super().leave(link)
        self.skipped = [i - 1 if i > gone else i for i in self.skipped]

    def send_supplies(self) -> None:
        n = len(self.links)
        if n == len(self.suppliers) or n < len(self.suppliers):
            served = list(range(n))
        else:
            room = math.floor(self.supplied / self.share)
            first = [i for i in self.skipped if i < n]
            served = (first + [i for i in range(n) if i not in first])[:room]
            self.skipped = [i for i in range(n) if i not in served]
        # OpenDC looks at one flag only for all consumers: that of the first.
        if n == len(self.suppliers) or 0 in served:
            for index in range(n):
                self.send(index, self.share)


class BestEffort(Distributor):
    """Round robin: whose turn it is takes what it asks for first; the turn moves on at every distribution."""

    __slots__ = ("interval_ms", "last_ms", "turn")

    def __init__(self, flow: Flow, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self.last_ms = -interval_ms
        self.turn = 0
        super().__init__(flow)

    def on_update(self, now: int) -> int:
        due = now >= self.last_ms + self.interval_ms
        if due:
            self.last_ms = now
        if self.needs_demand or due:
            self.ask_active_first()
        if self.links or due:
            self.send_supplies()
        return self.last_ms + self.interval_ms if self.links and self.suppliers else FAR

    def ask_active_first(self) -> None:
        """Suppliers already in use are filled first when the demand fits."""
        capacity = self.capacity / len(self.suppliers)
        if self.capacity > self.total > 0:
            left = self.total
            for in_use in (True, False):
                for port, link in self.suppliers.items():
                    if (self.current[port] > 0) == in_use and left > 0:
                        part = min(left, capacity)
                        link.ask(part, len(self.links))
                        left -= part
        else:
            for link in self.suppliers.values():
                link.ask(self.total / len(self.suppliers), len(self.links))
        self.needs_demand = False
        self.invalidate()

    def send_supplies(self) -> None:
        if self.total <= self.supplied:
            super().send_supplies()
            return
        self.over = True
        n = len(self.links)
        shares = [0.0] * n
        left = self.supplied
        for turn in range(n):
            index = (self.turn + turn) % n
            shares[index] = min(self.asked[index], max(left, 0.0))
            left -= shares[index]
        if n and self.supplied > 0:
            self.turn = (self.turn + 1) % n
        for index in range(n):
            self.send(index, shares[index])
        self.updated.clear()
