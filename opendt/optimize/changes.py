"""Changes of a topology as paths: ``clusters[0].hosts[0].count=200``, ``clusters[C01].hosts[*].cpu.coreSpeed=1800``.

A list is indexed by number, by name (quoted or not) or by ``*`` for all. Field names are OpenDC's. Every result
goes through the topology's own checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from opendt.errors import InputError, TopologyError
from opendt.models.topology import Topology, parse_topology

_SEGMENT = re.compile(r"""([A-Za-z_]\w*)(?:\[\s*(?:"([^"]*)"|'([^']*)'|([^\]"']+?))\s*\])?(?:\.|$)""")
_EXAMPLE = "clusters[0].hosts[0].count=200"


def parse_change(text: str) -> tuple[str, Any]:
    """(path, value) of ``path=value``. The value is JSON where it reads as such, else text such as ``2.1 GHz``.

    Raises ``InputError`` when there is no ``=`` or one side is empty.
    """
    path, sign, value = text.partition("=")
    if not sign or not path.strip() or not value.strip():
        raise InputError(f"--set '{text}': must be PATH=VALUE, for example {_EXAMPLE}.")
    return path.strip(), parse_value(value.strip())


def parse_value(text: str) -> Any:
    """A JSON value, or the text itself where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Several ``path=value`` in order; a path given twice is an ``InputError``."""
    changes: dict[str, Any] = {}
    for text in texts:
        path, value = parse_change(text)
        if path in changes:
            raise InputError(f"--set {path}: given twice; give each path once per variant.")
        changes[path] = value
    return changes


def apply_changes(topology: Topology, changes: Mapping[str, Any]) -> Topology:
    """The topology with every change made, checked as a whole.

    Raises:
        TopologyError: a path leads nowhere (says where it broke and what is there) or the result is invalid.
    """
    data = topology.model_dump(mode="json")
    for path, value in changes.items():
        for target, key in _targets(data, path):
            target[key] = value
    return parse_topology(data, "changed topology")


def canonical(topology: Topology, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The same changes with numbers for names and ``*`` spelled out; paths as ``clusters[0].hosts[1].count``."""
    data = topology.model_dump(mode="json")
    return {full: value for path, value in changes.items() for full, _, _ in _walk(data, path)}


def differences(before: Topology, after: Topology) -> dict[str, Any]:
    """The changes that turn one topology into another: path → new value. Lists of other lengths change as a whole."""
    return dict(_differences("", before.model_dump(mode="json"), after.model_dump(mode="json")))


def value_at(topology: Topology, path: str) -> Any:
    """The present value at a path; the first one where the path holds a ``*``. Raises ``TopologyError``."""
    for _, target, key in _walk(topology.model_dump(mode="json"), path):
        return target[key]
    raise TopologyError(f"{path}: selects nothing.", field=path)


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in after:
            yield from _differences(f"{path}.{key}" if path else key, before.get(key), after[key])
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", old, new)
    elif before != after:
        yield path, after


def _targets(data: Any, path: str) -> list[tuple[Any, Any]]:
    return [(target, key) for _, target, key in _walk(data, path)]


def _walk(data: Any, path: str) -> list[tuple[str, Any, Any]]:
    """(full path, container, key) of everything a path selects."""
    reached: list[tuple[str, Any, Any]] = [("", {"": data}, "")]
    for name, selector in _segments(path):
        reached = [step for at in reached for step in _step(path, *at, name, selector)]
    return reached


def _segments(path: str) -> list[tuple[str, str | None]]:
    segments, position = [], 0
    while position < len(path):
        found = _SEGMENT.match(path, position)
        if found is None or (found.end() == len(path) and path.endswith(".")):
            raise TopologyError(
                f"{path}: cannot be read from '{path[position:]}' on; write it like {_EXAMPLE.split('=')[0]}.",
                field=path,
            )
        segments.append((found.group(1), next((g for g in found.groups()[1:] if g is not None), None)))
        position = found.end()
    return segments


def _step(
    path: str, at: str, container: Any, key: Any, name: str, selector: str | None
) -> Iterator[tuple[str, Any, Any]]:
    here = container[key]
    if not isinstance(here, dict):
        what = "is not set" if here is None else "holds no fields"
        raise TopologyError(f"{path}: {at or 'the topology'} {what}, so there is no '{name}' in it.", field=path)
    if name not in here:
        raise TopologyError(
            f"{path}: there is no '{name}' in {at or 'the topology'}; there are {', '.join(here)}.", field=path
        )
    full = f"{at}.{name}" if at else name
    if selector is None:
        if isinstance(here[name], list) and here[name] and isinstance(here[name][0], dict):
            raise TopologyError(f"{path}: say which of {full}: {full}[0], {full}[NAME] or {full}[*].", field=path)
        yield full, here, name
        return
    if not isinstance(here[name], list):
        raise TopologyError(f"{path}: {full} is not a list, so [{selector}] selects nothing.", field=path)
    for index in _select(path, full, here[name], selector):
        yield f"{full}[{index}]", here[name], index


def _select(path: str, full: str, items: list[Any], selector: str) -> list[int]:
    if selector == "*":
        return list(range(len(items)))
    if re.fullmatch(r"-?[0-9]+", selector):
        index = int(selector)
        if 0 <= index < len(items):
            return [index]
        raise TopologyError(f"{path}: {full}[{index}] does not exist; there are {len(items)}, from 0.", field=path)
    names = [str(item.get("name")) if isinstance(item, dict) else str(item) for item in items]
    found = [index for index, name in enumerate(names) if name == selector]
    if len(found) == 1:
        return found
    if found:
        raise TopologyError(f"{path}: {len(found)} of {full} are called '{selector}'; use their numbers.", field=path)
    known = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
    raise TopologyError(f"{path}: none of {full} is called '{selector}'; there are {known}.", field=path)
