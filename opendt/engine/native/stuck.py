"""Why a run can never end, in words: which task, what it waits for, what to do (SEMANTICS 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opendt.engine.native.policies import (
    FILTER_CAPACITY,
    FILTER_CORES,
    FILTER_GPU,
    FILTER_INSTANCES,
    FILTER_MEMORY,
)
from opendt.errors import EngineError

_FILTER_NAMES = {
    FILTER_CORES: "VCpu",
    FILTER_MEMORY: "Ram",
    FILTER_CAPACITY: "VCpuCapacity",
    FILTER_INSTANCES: "InstanceCount",
    FILTER_GPU: "VGpu",
}


def never_ends(sentence: str, task: str, **facts: Any) -> EngineError:
    """The error for a run in which nothing can happen any more; ``sentence`` tells cause and remedy."""
    return EngineError(
        f"the run can never end: {sentence} OpenDC would sample for ever.",
        engine="native", reason="stuck", task=task, **facts,
    )  # fmt: skip


def fits_no_host(task: str, cpu: int, mem_mib: int, hosts: Sequence[tuple[int, int]]) -> str | None:
    """What to say of a task that no single host can hold.

    ``hosts`` are (cores, memory [MiB]). None when one host has both.
    """
    if any(cores >= cpu and memory >= mem_mib for cores, memory in hosts):
        return None
    cores_beside = max((cores for cores, memory in hosts if memory >= mem_mib), default=None)
    memory_beside = max((memory for cores, memory in hosts if cores >= cpu), default=None)
    if memory_beside is None:
        why = f"no host has more than {max((cores for cores, _ in hosts), default=0)} cores"
    elif cores_beside is None:
        why = f"no host has more than {max(memory for _, memory in hosts)} MiB"
    else:
        why = f"hosts with the cores have up to {memory_beside} MiB, hosts with the memory up to {cores_beside} cores"
    return (
        f"task {task} needs {cpu} cores and {mem_mib} MiB, which no single host offers ({why}). Give one host type "
        "both, lower the task's cpu_count or mem_capacity, or remove the task."
    )


def passes_no_filter(task: str, cpu: int, mem_mib: int, filters: Sequence[Any]) -> str:
    """What to say of a task that some host could hold, but that the filters of the policy keep away from all."""
    said = [f"{_FILTER_NAMES[int(kind)]} {value:g}" for kind, value in filters] or ["Compute"]
    return (
        f"task {task} ({cpu} cores, {mem_mib} MiB) passes the filters of the allocation policy ({', '.join(said)}) on "
        "no host, and no task is left to free one. Loosen a filter, add hosts that pass, or remove the task."
    )


def waits_for_parent(task: str, parents: Sequence[str]) -> str:
    """What to say of a task whose parents never complete; ``parents`` are words, empty when none is known."""
    of = f" ({', '.join(parents)})" if parents else ""
    return (
        f"task {task} waits for a parent that never completes{of}. Add the parent to the trace with fragments and a "
        "size that fits a host, or take it out of the task's parents."
    )


def was_put_off(task: str, policy: str, *, has_carbon: bool) -> str:
    """What to say of a deferrable task that a timeshift policy keeps waiting."""
    why = "the carbon trace ends before it is" if has_carbon else "there is no carbon trace"
    return (
        f"policy {policy} puts task {task} off until the carbon intensity is low, but {why}, and only a change of "
        "the intensity, a submission or the end of a task makes it look again. Use a carbon trace that goes on beyond "
        "the deadlines, make the task not deferrable, or use policy Mem."
    )


def was_passed_over(task: str, policy: str) -> str:
    """What to say of a task that a policy with a memory will not look at again."""
    return (
        f"policy {policy} passed over task {task}, and tries again only when a task arrives or ends, which none does "
        "any more. Use policy Mem, which tries until it knows that no host fits, or make room for the task."
    )


def is_down(task: str) -> str:
    """What to say of a task for which only hosts would do that are down for good."""
    return (
        f"task {task} waits for a host, but those that would do have failed and the failure trace does not bring them "
        "back. Add the end of the failures to the trace, or more hosts."
    )


def saves_for_ever(task: str, host: str) -> str:
    """What to say of a task whose checkpoints leave it no time, or were taken when its host granted it nothing."""
    return (
        f"task {task} on host {host} saves its state faster than it works: with what its host grants, a checkpoint is "
        "not done before the next, and what is left grows each time. Use a longer checkpointInterval, a shorter "
        "checkpointDuration, or scaling NoDelay."
    )


def gets_nothing(task: str, host: str, demand_mhz: float) -> str:
    """What to say of a running task whose host grants it nothing, so that its work is never done (SEMANTICS 5.6)."""
    return (
        f"task {task} runs on host {host} and asks for {demand_mhz:g} MHz, but is granted nothing, so under Perfect "
        "scaling its work is never done. The power the host gets differs from what it asks for by a rounding of the "
        "cluster's sum, and a host then keeps its old supply (quirk 5.6 of OpenDC). Use scaling NoDelay, or change the "
        "task's usage or the power curve a little."
    )
