"""Objects of the exact engine to plain values and back: for copies and for bytes.

Instances are numbered and refer to each other by number; containers are values. Only the classes listed in
``KNOWN`` can come out of bytes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from opendt.engine.native.exact import (
    battery,
    distributor,
    failures,
    flow,
    power,
    random,
    rows,
    scheduler,
    service,
    stopper,
    workload,
    world,
)
from opendt.errors import EngineError
from opendt.models import topology

_MODELS = (topology.PowerModel, topology.BatteryPolicy)
KNOWN: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        battery.Aggregator, battery.Battery, battery.Policy, distributor.BestEffort, distributor.Distributor,
        distributor.EqualShare, distributor.FirstFit, distributor.FixedShare, distributor.IndexSet, failures.Failures,
        flow.Agenda, flow.Flow, flow.Link, power.CarbonModel, power.Processor, power.Psu, power.Source,
        random.JavaRandom, random.SplittableRandom, rows.Recorder, scheduler.FilterScheduler,
        scheduler.MemorizingScheduler, scheduler.MemorizingTimeshift, scheduler.TimeshiftScheduler, service.Host,
        service.Service, service.Task, stopper.Stopper, workload.Checkpoint, workload.Execution, workload.Meter,
        world.CycleOnCarbon, world.World, *_MODELS,
    )
}  # fmt: skip
_PLAIN = (bool, int, float, str, type(None))
_TAGS: dict[Any, str] = {list: "l", tuple: "t", set: "s", deque: "q"}
_MAKERS: dict[str, Any] = {"l": list, "t": tuple, "s": set, "q": deque}


def attributes(cls: type) -> list[str]:
    """Slots of a class and its bases, sorted."""
    return sorted({name for base in cls.__mro__ for name in getattr(base, "__slots__", ())})


_ATTRIBUTES = {name: attributes(cls) for name, cls in KNOWN.items() if cls not in _MODELS}


def encode(root: Any) -> list[Any]:
    """Every object reachable from ``root`` as [class name, values]; the first is ``root``."""
    number: dict[int, int] = {id(root): 0}
    objects: list[Any] = [root]
    out: list[Any] = []

    def value(x: Any) -> Any:
        kind = type(x)
        if kind is float and not math.isfinite(x):
            return ["f", repr(x)]
        if kind in _PLAIN:
            return x
        tag = _TAGS.get(kind)
        if tag is not None:
            if kind is list and len(x) > 8 and _are_numbers(x):
                return ["n", x]
            items = sorted(x) if kind is set else x
            return [tag, *map(value, items)]
        if kind is dict:
            return ["d", *([value(k), value(v)] for k, v in x.items())]
        if kind.__name__ not in KNOWN:
            raise EngineError(f"a {kind.__name__} cannot be stored.", engine="native", reason="unknown class")
        found = number.get(id(x))
        if found is None:
            found = number[id(x)] = len(objects)
            objects.append(x)
        return ["o", found]

    at = 0
    while at < len(objects):
        x = objects[at]
        name = type(x).__name__
        if isinstance(x, _MODELS):
            out.append([name, x.model_dump(mode="json")])
        else:
            out.append([name, [value(getattr(x, attribute)) for attribute in _ATTRIBUTES[name]]])
        at += 1
    return out


def _are_numbers(values: list[Any]) -> bool:
    """Whether a list can be stored as it is."""
    kinds = set(map(type, values))
    return kinds == {int} or (kinds == {float} and all(map(math.isfinite, values)))


def decode(described: list[Any]) -> Any:
    """The first object of what ``encode`` gave, with all it refers to. Raises ``EngineError`` for anything else."""
    try:
        objects = [_new(name, values) for name, values in described]

        def value(x: Any) -> Any:
            if not isinstance(x, list):
                return x
            tag, *rest = x
            if tag == "o":
                return objects[rest[0]]
            if tag == "n":
                return list(rest[0])
            if tag == "f":
                return float(rest[0])
            if tag == "d":
                return {value(k): value(v) for k, v in rest}
            return _MAKERS[tag](map(value, rest))

        for target, (name, values) in zip(objects, described, strict=True):
            if not isinstance(target, _MODELS):
                for attribute, x in zip(_ATTRIBUTES[name], values, strict=True):
                    setattr(target, attribute, value(x))
        return objects[0]
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise EngineError(
            f"the state is damaged ({error}). Resume from an older checkpoint.", engine="native", reason="damaged state"
        ) from None


def _new(name: str, values: Any) -> Any:
    cls: Any = KNOWN[name]
    return cls.model_validate(values) if cls in _MODELS else object.__new__(cls)


def copied(root: Any) -> Any:
    """A deep copy of an object and everything it refers to."""
    return decode(encode(root))
