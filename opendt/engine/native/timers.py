"""Timers of running tasks: a line for fragments of the usual length, a heap of distinct times for the others.

Most fragments of a recorded trace are as long as its sampling interval. Their ends come in the order of their
beginnings, so a line with a head and a tail keeps them sorted without any work.

The others end on a grid, so many share a time: the heap holds distinct times, each with the tasks due then. A small
table of recent times finds the list for a time without searching; when it forgets one, a second list for the same time
is opened, which changes nothing, since all lists of a time are taken together and sorted.
"""

from __future__ import annotations

from typing import Any

from opendt.engine.native.compiled import inlined, kernel
from opendt.engine.native.world import BUCKETS, FAR, HEAP, LINE_HEAD, LINE_TAIL, NOW, USUAL

RECENT = 1024  # a power of two


@inlined
def add_timer(clock: Any, s: Any, slot: Any, at: Any) -> None:
    """Make ``slot`` due at time ``at``."""
    if at - clock[NOW] == clock[USUAL]:
        tail = clock[LINE_TAIL]
        s.line[tail].at = at
        s.line[tail].slot = slot
        tail += 1
        clock[LINE_TAIL] = tail if tail < len(s.line) else 0
        return
    add_to_heap(clock, s, slot, at)


@inlined
def add_to_heap(clock: Any, s: Any, slot: Any, at: Any) -> None:
    """Make ``slot`` due at time ``at``, whatever the length of its fragment."""
    key = (at ^ (at >> 10)) & (RECENT - 1)
    if s.recent[key].at == at:
        bucket = s.recent[key].bucket
        s.bucket_next[slot] = s.bucket_first[bucket]
        s.bucket_first[bucket] = slot
        return
    clock[BUCKETS] -= 1
    bucket = s.bucket_free[clock[BUCKETS]]
    s.bucket_first[bucket] = slot
    s.bucket_next[slot] = -1
    s.recent[key].at = at
    s.recent[key].bucket = bucket
    i = clock[HEAP]
    clock[HEAP] = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if s.heap[parent].at <= at:
            break
        s.heap[i].at = s.heap[parent].at
        s.heap[i].bucket = s.heap[parent].bucket
        i = parent
    s.heap[i].at = at
    s.heap[i].bucket = bucket


@inlined
def next_time(clock: Any, s: Any) -> Any:
    """Earliest time of any timer, FAR when there is none."""
    earliest = s.heap[0].at if clock[HEAP] > 0 else FAR
    if clock[LINE_HEAD] != clock[LINE_TAIL]:
        earliest = min(earliest, s.line[clock[LINE_HEAD]].at)
    return earliest


@inlined
def take_due(clock: Any, s: Any, now: Any) -> Any:
    """Move the slots due by ``now`` to ``changed``, sorted; returns how many."""
    count = 0
    sorted_so_far = True
    head = clock[LINE_HEAD]
    while head != clock[LINE_TAIL] and s.line[head].at <= now:
        slot = s.line[head].slot
        if count > 0 and s.changed[count - 1] > slot:
            sorted_so_far = False
        s.changed[count] = slot
        count += 1
        head += 1
        if head == len(s.line):
            head = 0
    clock[LINE_HEAD] = head
    if clock[HEAP] > 0 and s.heap[0].at <= now:
        count = take_from_heap(clock, s, now, count)
        sorted_so_far = False
    if not sorted_so_far:
        sort(s.changed, count)
    return count


@inlined
def take_from_heap(clock: Any, s: Any, now: Any, count: Any) -> Any:
    """Add the slots in the heap due by ``now`` to ``changed``; returns how many it holds then."""
    while clock[HEAP] > 0 and s.heap[0].at <= now:
        at = s.heap[0].at
        bucket = s.heap[0].bucket
        key = (at ^ (at >> 10)) & (RECENT - 1)
        if s.recent[key].at == at and s.recent[key].bucket == bucket:
            s.recent[key].at = -1
        slot = s.bucket_first[bucket]
        while slot >= 0:
            s.changed[count] = slot
            count += 1
            slot = s.bucket_next[slot]
        s.bucket_free[clock[BUCKETS]] = bucket
        clock[BUCKETS] += 1
        _drop_top(clock, s)
    return count


@inlined
def sort(values: Any, count: Any) -> None:
    """Sort the first ``count`` values in place (Shell sort with Knuth's gaps)."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            value = values[i]
            j = i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 3


@inlined
def _drop_top(clock: Any, s: Any) -> None:
    size = clock[HEAP] - 1
    clock[HEAP] = size
    if size == 0:
        return
    at = s.heap[size].at
    bucket = s.heap[size].bucket
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and s.heap[child + 1].at < s.heap[child].at:
            child += 1
        if s.heap[child].at >= at:
            break
        s.heap[i].at = s.heap[child].at
        s.heap[i].bucket = s.heap[child].bucket
        i = child
    s.heap[i].at = at
    s.heap[i].bucket = bucket


@kernel
def restore_timers(clock: Any, s: Any, deadlines: Any) -> None:
    """Set a timer for every slot with a deadline."""
    for slot in range(len(deadlines)):
        if deadlines[slot] != FAR:
            add_to_heap(clock, s, slot, deadlines[slot])
