"""The flow engine: nodes that tell each other demands and supplies until nothing changes (SEMANTICS 5.2 and 6).

Every number is a double and every addition happens in OpenDC's order, because its results depend on it: totals kept
as running sums differ in the last bit, and that bit decides whether a host publishes its new supply.
"""

from __future__ import annotations

import heapq
from collections import deque

from opendt.errors import EngineError

FAR = 2**63 - 1  # later than everything
_WRAP = 2**64
ROUNDS = 10_000_000  # updates in one instant after which it will not settle


def wrapped(value: int) -> int:
    """A whole number as a signed 64-bit integer wraps it."""
    return (value + 2**63) % _WRAP - 2**63


WAKE, TICK, CYCLE, SUBMIT, FAULT, PAUSE, CLOSE = range(7)


def _does_not_settle(now: int, why: str) -> EngineError:
    return EngineError(
        f"time does not go on at {now} ms of simulated time: {why}, {ROUNDS:,} updates in one instant. OpenDC would "
        "hang. Use scaling NoDelay, or change the usages or the power curves a little.",
        engine="native", reason="does not settle", simulated_ms=now,
    )  # fmt: skip


class Agenda:
    """The master queue: what happens when, in order of (time, insertion number)."""

    __slots__ = ("items", "number")

    def __init__(self) -> None:
        self.items: list[tuple[int, int, int]] = []
        self.number = 0

    def take_number(self) -> int:
        """The next insertion number."""
        self.number += 1
        return self.number - 1

    def add(self, at: int, kind: int, number: int | None = None) -> None:
        """Insert an item, with a number taken earlier if there is one."""
        heapq.heappush(self.items, (at, self.take_number() if number is None else number, kind))

    def pop(self) -> tuple[int, int, int]:
        """The next item: time, number, kind."""
        return heapq.heappop(self.items)


class Flow:
    """Queue and timers of all nodes of a simulation; ``wakes`` is the stack of times at which it asked to run."""

    __slots__ = ("agenda", "heap", "now", "running", "waiting", "wakes")

    def __init__(self, agenda: Agenda) -> None:
        self.agenda = agenda
        self.now = 0
        self.waiting: deque[Node] = deque()
        self.heap: list[Node] = []
        self.wakes: list[int] = []
        self.running = False

    def request(self, at: int) -> None:
        """Ask to run at a time, unless one no later is pending."""
        if not self.wakes or at < self.wakes[-1]:
            self.wakes.append(at)
            self.agenda.add(at, WAKE)

    def add(self, node: Node) -> None:
        """Put a node at the end of the queue, once."""
        if not node.queued:
            node.queued = True
            self.waiting.append(node)
        if not self.running:
            self.request(self.now)

    def run(self) -> None:
        """One WAKE: due timers first, then the queue until it is empty."""
        now = self.wakes.pop()
        self.running = True
        rounds = 0
        try:
            while self.heap and self.heap[0].deadline <= now:
                self._take().update(now, timer=True)
                rounds += 1
                if rounds > ROUNDS:
                    raise _does_not_settle(now, "a timer is due again and again")
            while self.waiting:
                node = self.waiting.popleft()
                node.queued = False
                node.update(now)
                rounds += 1
                if rounds > ROUNDS:
                    raise _does_not_settle(now, "demands and supplies change again and again")
        finally:
            self.running = False
        if self.heap and self.heap[0].deadline >= now:
            self.request(self.heap[0].deadline)

    # The timer heap. Only deadlines are compared, so the order of equal ones follows from these very steps.

    def set_timer(self, node: Node) -> None:
        """Insert, move or remove a node according to its deadline."""
        if node.deadline == FAR:
            if node.place >= 0:
                self._remove(node.place)
        elif node.place < 0:
            self.heap.append(node)
            self._up(len(self.heap) - 1, node)
        else:
            at = node.place
            if at > 0 and node.deadline < self.heap[(at - 1) >> 1].deadline:
                self._up(at, node)
            else:
                self._down(at, node)

    def _take(self) -> Node:
        top = self.heap[0]
        last = self.heap.pop()
        top.place = -1
        if self.heap:
            self._down(0, last)
        return top

    def _remove(self, at: int) -> None:
        self.heap[at].place = -1
        last = self.heap.pop()
        if at < len(self.heap):
            self._down(at, last)
            if self.heap[at] is last:
                self._up(at, last)

    def _up(self, at: int, node: Node) -> None:
        heap = self.heap
        while at > 0:
            parent = (at - 1) >> 1
            if heap[parent].deadline <= node.deadline:
                break
            heap[at] = heap[parent]
            heap[at].place = at
            at = parent
        heap[at] = node
        node.place = at

    def _down(self, at: int, node: Node) -> None:
        heap = self.heap
        size = len(heap)
        while (child := 2 * at + 1) < size:
            if child + 1 < size and heap[child + 1].deadline < heap[child].deadline:
                child += 1
            if node.deadline <= heap[child].deadline:
                break
            heap[at] = heap[child]
            heap[at].place = at
            at = child
        heap[at] = node
        node.place = at


class Node:
    """Something that takes part in the flow.

    ``on_update`` returns the time at which it wants to be updated again. That time counts only if nobody queued the
    node meanwhile; otherwise the old timer stays.
    """

    __slots__ = ("closed", "deadline", "flow", "place", "queued", "stale")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.deadline = FAR
        self.place = -1
        self.queued = False
        self.stale = False
        self.closed = False
        self.invalidate()

    def invalidate(self) -> None:
        """Ask to be updated in this instant."""
        if not self.closed:
            self.stale = True
            self.flow.add(self)

    def update(self, now: int, *, timer: bool = False) -> None:
        """Run ``on_update`` and set the timer it asks for."""
        if self.closed:
            return
        self.stale = False
        deadline = self.on_update(now)
        if self.stale or self.closed:
            return
        if timer and deadline < now:
            deadline = FAR  # a wrapped sum: OpenDC would handle it for ever in this instant
        self.deadline = deadline
        self.flow.set_timer(self)

    def on_update(self, now: int) -> int:
        """React to what changed; returns the next deadline [ms]."""
        raise NotImplementedError

    def close(self) -> None:
        """Take no part any more."""
        self.closed = True
        self.deadline = FAR
        self.flow.set_timer(self)


class Link:
    """A consumer's connection to a supplier; remembers what was last said in both directions.

    ``index`` is the consumer's position at the supplier, ``port`` the supplier's number at the consumer.
    """

    __slots__ = ("consumer", "demand", "index", "port", "supplier", "supply")

    def __init__(self, consumer: Consumer, supplier: Supplier, port: int = 0) -> None:
        self.consumer = consumer
        self.supplier = supplier
        self.demand = 0.0
        self.supply = 0.0
        self.index = -1
        self.port = port

    def ask(self, demand: float, consumers: int = 0) -> None:
        """Tell the supplier a demand, if it is news."""
        if demand != self.demand:
            self.demand = demand
            self.supplier.on_demand(self, demand, consumers)

    def give(self, supply: float, *, always: bool = False) -> None:
        """Tell the consumer a supply, if it is news or ``always``."""
        if always or supply != self.supply:
            self.supply = supply
            self.consumer.on_supply(self, supply)


class Supplier:
    """What a link asks of its upper end."""

    __slots__ = ()

    def on_demand(self, link: Link, demand: float, consumers: int) -> None:
        """A new demand arrived."""
        raise NotImplementedError


class Consumer:
    """What a link asks of its lower end."""

    __slots__ = ()

    def on_supply(self, link: Link, supply: float) -> None:
        """A new supply arrived."""
        raise NotImplementedError
