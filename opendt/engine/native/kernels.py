"""The event loop for NoDelay workloads (SEMANTICS 5): compiled, on arrays, without I/O.

Under NoDelay a task's fragments last as long as the trace says whatever the host grants, so demand, power and
placement follow in closed form between events (SEMANTICS 5.4). One queue ordered by (time, insertion number) holds at
most one WAKE, TICK, CYCLE and SUBMIT that matter, so the queue is a comparison of four numbers.
"""

from __future__ import annotations

from typing import Any

from opendt.engine.native.compiled import inlined, kernel
from opendt.engine.native.demand import add_demand, change_demand, mark, refresh
from opendt.engine.native.memory import prefetch
from opendt.engine.native.placement import choose_host, update_tree
from opendt.engine.native.policies import BY_SCORE
from opendt.engine.native.sampling import close_piece, sample, settle_cluster
from opendt.engine.native.timers import add_timer, next_time, take_due
from opendt.engine.native.world import (
    ACTIVE,
    BLOCKED,
    CARBON_NEXT,
    CLOSE_AT,
    CLOSE_SEQ,
    COMPLETE,
    COMPLETED,
    COMPLETED_CALL,
    CYCLE_AT,
    CYCLE_SEQ,
    DIRTY,
    DONE,
    ENDING,
    EVENT_COMPLETED,
    EVENT_SCHEDULED,
    EVENT_SUBMITTED,
    EVENT_TERMINATED,
    FAR,
    FAULT,
    FINAL,
    FULL,
    HOST_EVERY,
    INTERVAL,
    LAST,
    MISSING_FRAGMENT,
    NEXT_TASK,
    NOW,
    PHASE,
    QUEUE_HEAD,
    QUEUE_TAIL,
    ROWS,
    RUNNING,
    SEQUENCE,
    STARTED_CALL,
    STARTING,
    STUCK,
    SUBMIT_SEQ,
    SUBMITTED,
    TASK_ROWS,
    TERMINATE,
    TERMINATED,
    TERMINATED_CALL,
    TICK_AT,
    TICK_NUMBER,
    TICK_SEQ,
    UNTIL,
    WAITING,
    WAITING_PARENTS,
    WAKES,
)

QUANTUM = 1000  # the scheduler runs at multiples of this [ms]


@inlined
def take_number(clock: Any) -> Any:
    """The next insertion number of the queue."""
    number = clock[SEQUENCE]
    clock[SEQUENCE] = number + 1
    return number


@inlined
def request_wake(clock: Any, s: Any, at: Any) -> None:
    """Ask for a WAKE at a time, unless one is due no later (SEMANTICS 5.2)."""
    top = clock[WAKES]
    if top == 0 or at < s.wakes[top - 1].at:
        s.wakes[top].at = at
        s.wakes[top].number = take_number(clock)
        clock[WAKES] = top + 1


@inlined
def request_cycle(clock: Any) -> None:
    """Ask for a scheduler cycle at the next multiple of the quantum, unless one is pending or nothing waits."""
    if clock[CYCLE_AT] == FAR and clock[QUEUE_HEAD] < clock[QUEUE_TAIL]:
        clock[CYCLE_AT] = (clock[NOW] + QUANTUM - 1) // QUANTUM * QUANTUM
        clock[CYCLE_SEQ] = take_number(clock)


@kernel
def log(out: Any, slot: Any, kind: Any, at: Any, host: Any) -> None:
    """Note an event in a task's life."""
    row = out.used[3]
    out.event[0, row] = slot
    out.event[1, row] = kind
    out.event[2, row] = at
    out.event[3, row] = host
    out.used[3] = row + 1


@kernel
def ends_run(clock: Any, tasks: Any) -> Any:
    """Whether the last task known has just ended."""
    return (
        clock[FINAL] == 1
        and clock[ACTIVE] == 0
        and clock[QUEUE_HEAD] == clock[QUEUE_TAIL]
        and clock[WAITING_PARENTS] == 0
        and clock[NEXT_TASK] == len(tasks)
        and clock[CLOSE_AT] == FAR
    )


@kernel
def complete(clock: Any, hosts: Any, tasks: Any, tree: Any, s: Any, trace: Any, out: Any, slot: Any) -> None:
    """A task has ended: give back cores and memory, release its children, ask for a cycle.

    After the last task of a run nothing but updates of hosts can follow at this time, so the final sample may wait
    until the caller comes to it (``ENDING``).
    """
    now = clock[NOW]
    h = tasks[slot].host
    add_demand(hosts, h, tasks[slot].demand_mhz, 0.0)
    before = tasks[slot].previous
    after = tasks[slot].next
    if before >= 0:
        tasks[before].next = after
    else:
        hosts[h].first = after
    if after >= 0:
        tasks[after].previous = before
    else:
        hosts[h].last = before
    hosts[h].reserved -= tasks[slot].cpu_count
    hosts[h].instances -= 1
    hosts[h].free_mib += tasks[slot].mem_mib
    if trace.policy[0] == BY_SCORE:
        update_tree(tree, hosts, trace.policy, trace.policy_values[0], h)
    tasks[slot].state = COMPLETE
    tasks[slot].finish_ms = now
    clock[ACTIVE] -= 1
    clock[COMPLETED] += 1
    clock[COMPLETED_CALL] += 1
    clock[LAST] = slot
    log(out, slot, EVENT_COMPLETED, now, h)
    if len(trace.child) > 0:
        for i in range(trace.child_start[slot], trace.child_start[slot + 1]):
            child = trace.child[i]
            tasks[child].waits_for -= 1
            if tasks[child].waits_for == 0 and tasks[child].state == BLOCKED:
                clock[WAITING_PARENTS] -= 1
                enqueue(clock, tasks, s, child)
    request_cycle(clock)
    if ends_run(clock, tasks):
        clock[ENDING] = 1


@kernel
def enqueue(clock: Any, tasks: Any, s: Any, slot: Any) -> None:
    """Put a task at the end of the waiting queue."""
    tasks[slot].state = WAITING
    s.queue[clock[QUEUE_TAIL]] = slot
    clock[QUEUE_TAIL] += 1
    request_cycle(clock)


@kernel
def submit(clock: Any, tasks: Any, s: Any, out: Any) -> None:
    """SUBMIT: every task due now enters the queue; the next submission gets its number at once."""
    now = clock[NOW]
    while clock[NEXT_TASK] < len(tasks) and tasks[clock[NEXT_TASK]].submit_ms <= now:
        slot = clock[NEXT_TASK]
        clock[NEXT_TASK] += 1
        clock[SUBMITTED] += 1
        log(out, slot, EVENT_SUBMITTED, now, -1)
        if clock[TASK_ROWS] == 1:
            s.row_slots[clock[ROWS]] = slot
            clock[ROWS] += 1
        if tasks[slot].waits_for > 0:
            tasks[slot].state = BLOCKED
            clock[WAITING_PARENTS] += 1
        else:
            enqueue(clock, tasks, s, slot)
    clock[SUBMIT_SEQ] = take_number(clock)


@kernel
def place(clock: Any, hosts: Any, tasks: Any, tree: Any, s: Any, trace: Any, out: Any, slot: Any, h: Any) -> None:
    """Put a task on a host; its first fragment begins in the next WAKE."""
    now = clock[NOW]
    hosts[h].reserved += tasks[slot].cpu_count
    hosts[h].instances += 1
    hosts[h].free_mib -= tasks[slot].mem_mib
    if trace.policy[0] == BY_SCORE:
        update_tree(tree, hosts, trace.policy, trace.policy_values[0], h)
    last = hosts[h].last
    tasks[slot].previous = last
    tasks[slot].next = -1
    if last >= 0:
        tasks[last].next = slot
    else:
        hosts[h].first = slot
    hosts[h].last = slot
    tasks[slot].host = h
    tasks[slot].state = RUNNING
    tasks[slot].schedule_ms = now
    tasks[slot].counted_ms = now
    tasks[slot].up_since_ms = now
    clock[ACTIVE] += 1
    clock[STARTED_CALL] += 1
    log(out, slot, EVENT_SCHEDULED, now, h)
    s.starting[clock[STARTING]] = slot
    clock[STARTING] += 1
    request_wake(clock, s, now)


@kernel
def cycle(clock: Any, hosts: Any, tasks: Any, tree: Any, s: Any, trace: Any, out: Any) -> None:
    """CYCLE: place waiting tasks in order until one does not fit (SEMANTICS 7.1)."""
    while clock[QUEUE_HEAD] < clock[QUEUE_TAIL]:
        slot = s.queue[clock[QUEUE_HEAD]]
        cpu = tasks[slot].cpu_count
        mem = tasks[slot].mem_mib
        h = choose_host(tree, hosts, s, trace, cpu, mem, tasks[slot].cpu_capacity_mhz)
        if h >= 0 and cpu <= hosts[h].cores and mem <= hosts[h].memory_mib:
            clock[QUEUE_HEAD] += 1
            place(clock, hosts, tasks, tree, s, trace, out, slot, h)
        elif h >= 0 or cpu > trace.limits[0] or mem > trace.limits[1]:
            clock[QUEUE_HEAD] += 1
            tasks[slot].state = TERMINATE
            tasks[slot].finish_ms = clock[NOW]
            clock[TERMINATED] += 1
            clock[TERMINATED_CALL] += 1
            log(out, slot, EVENT_TERMINATED, clock[NOW], -1)
            if ends_run(clock, tasks):
                clock[ENDING] = 1
        else:
            break
    clock[CYCLE_AT] = FAR


@kernel
def step_carbon(clock: Any, clusters: Any, trace: Any) -> None:
    """Change the carbon intensity where its trace says so."""
    now = clock[NOW]
    while clock[CARBON_NEXT] < len(trace.carbon_ms) and trace.carbon_ms[clock[CARBON_NEXT]] <= now:
        for c in range(len(clusters)):
            if clusters[c].has_carbon == 1:
                settle_cluster(clusters, c, now)
                close_piece(clusters, c)
                clusters[c].intensity = trace.carbon_value[clock[CARBON_NEXT]]
        clock[CARBON_NEXT] += 1


@inlined
def step_ahead(tasks: Any, trace: Any, slot: Any) -> None:
    """The next fragment begins: read the one after it."""
    task = tasks[slot]
    task.left -= 1
    i = task.at + 1
    task.at = i
    if i < task.end:
        task.ahead_mhz = trace.usage_mhz[i]
        task.ahead_ms = trace.duration_ms[i]


@kernel
def look_ahead(tasks: Any, trace: Any) -> None:
    """Read the next fragment of every task, at the start of a call."""
    for slot in range(len(tasks)):
        i = tasks[slot].at
        if i < tasks[slot].end:
            tasks[slot].ahead_mhz = trace.usage_mhz[i]
            tasks[slot].ahead_ms = trace.duration_ms[i]


@kernel
def begin(clock: Any, hosts: Any, tasks: Any, tree: Any, s: Any, trace: Any, out: Any, slot: Any) -> Any:
    """Phase 2 for one task: take fragments until one has a length; the task ends when none is left."""
    if tasks[slot].uses_cpu == 1:
        while tasks[slot].left > 0:
            if tasks[slot].at >= tasks[slot].end:
                clock[FAULT] = slot
                return False
            usage = tasks[slot].ahead_mhz
            duration = tasks[slot].ahead_ms
            step_ahead(tasks, trace, slot)
            change_demand(clock, hosts, tasks, slot, usage)
            if duration > 0:
                at = clock[NOW] + duration
                tasks[slot].deadline_ms = at
                add_timer(clock, s, slot, at)
                return True
    tasks[slot].deadline_ms = FAR
    complete(clock, hosts, tasks, tree, s, trace, out, slot)
    return True


@inlined
def wake(clock: Any, hosts: Any, tasks: Any, tree: Any, s: Any, trace: Any, out: Any) -> Any:
    """First half of a WAKE: fragments that end now, then tasks that start now (SEMANTICS 5.2)."""
    now = clock[NOW]
    clock[WAKES] -= 1
    clock[PHASE] = 1
    dirty = 0
    chained = 0
    due = take_due(clock, s, now)
    for k in range(due):
        at = tasks[s.changed[k]].at + 1
        prefetch(trace.usage_mhz, at)
        prefetch(trace.duration_ms, at)
    for k in range(due):
        slot = s.changed[k]
        task = tasks[slot]
        if task.left == 0:
            task.deadline_ms = FAR
            dirty = mark(hosts, s, dirty, task.host)
            complete(clock, hosts, tasks, tree, s, trace, out, slot)
            continue
        if task.at >= task.end:
            clock[FAULT] = slot
            return False
        usage = task.ahead_mhz
        duration = task.ahead_ms
        step_ahead(tasks, trace, slot)
        if usage != task.demand_mhz:
            change_demand(clock, hosts, tasks, slot, usage)
            dirty = mark(hosts, s, dirty, task.host)
        if duration > 0:
            task.deadline_ms = now + duration
            add_timer(clock, s, slot, now + duration)
        else:
            s.chained[chained] = slot
            chained += 1
    if clock[ENDING] == 0:
        clock[PHASE] = 2
    for k in range(chained):
        dirty = mark(hosts, s, dirty, tasks[s.chained[k]].host)
        if not begin(clock, hosts, tasks, tree, s, trace, out, s.chained[k]):
            return False
    for k in range(clock[STARTING]):
        dirty = mark(hosts, s, dirty, tasks[s.starting[k]].host)
        if not begin(clock, hosts, tasks, tree, s, trace, out, s.starting[k]):
            return False
    clock[STARTING] = 0
    clock[DIRTY] = dirty
    return True


@inlined
def settle(clock: Any, hosts: Any, tasks: Any, clusters: Any, s: Any, trace: Any) -> None:
    """Second half of a WAKE: the hosts whose tasks changed, then the next WAKE."""
    clock[PHASE] = 0
    for k in range(clock[DIRTY]):
        refresh(clock, hosts, tasks, clusters, s, trace, s.dirty_hosts[k])
    earliest = next_time(clock, s)
    if clock[CARBON_NEXT] < len(trace.carbon_ms):
        earliest = min(earliest, trace.carbon_ms[clock[CARBON_NEXT]])
    if earliest != FAR:
        request_wake(clock, s, earliest)


@inlined
def has_space(clock: Any, hosts: Any, out: Any) -> Any:
    """Whether the rows of one more sample fit into the output."""
    if out.used[0] >= len(out.sample_ms):
        return False
    if clock[HOST_EVERY] > 0 and out.used[1] + len(hosts) > out.host_int.shape[1]:
        return False
    return clock[TASK_ROWS] == 0 or out.used[2] + clock[ROWS] + 1 <= out.task_int.shape[1]


@kernel
def is_stuck(clock: Any, tasks: Any) -> Any:
    """Whether tasks wait although nothing can ever happen (SEMANTICS 11)."""
    return (
        clock[FINAL] == 1
        and clock[ACTIVE] == 0
        and clock[CYCLE_AT] == FAR
        and clock[NEXT_TASK] == len(tasks)
        and (clock[QUEUE_HEAD] < clock[QUEUE_TAIL] or clock[WAITING_PARENTS] > 0)
    )


@kernel
def run(clock: Any, hosts: Any, tasks: Any, clusters: Any, tree: Any, s: Any, trace: Any, out: Any) -> Any:
    """Process events before ``clock[UNTIL]``; returns DONE, FULL (call again with new output) or a fault."""
    while True:
        kind = 0
        at = FAR
        number = FAR
        if clock[WAKES] > 0:
            at = s.wakes[clock[WAKES] - 1].at
            number = s.wakes[clock[WAKES] - 1].number
        if clock[TICK_AT] < at or (clock[TICK_AT] == at and clock[TICK_SEQ] < number):
            kind, at, number = 1, clock[TICK_AT], clock[TICK_SEQ]
        if clock[CYCLE_AT] < at or (clock[CYCLE_AT] == at and clock[CYCLE_SEQ] < number):
            kind, at, number = 2, clock[CYCLE_AT], clock[CYCLE_SEQ]
        if clock[NEXT_TASK] < len(tasks):
            due = max(tasks[clock[NEXT_TASK]].submit_ms, clock[NOW])
            if due < at or (due == at and clock[SUBMIT_SEQ] < number):
                kind, at, number = 3, due, clock[SUBMIT_SEQ]
        if at > clock[CLOSE_AT] or (at == clock[CLOSE_AT] and number > clock[CLOSE_SEQ]):
            return DONE
        if at >= clock[UNTIL]:
            return DONE
        if not has_space(clock, hosts, out):
            return FULL
        clock[NOW] = at
        if kind == 0:
            step_carbon(clock, clusters, trace)
            if not wake(clock, hosts, tasks, tree, s, trace, out):
                return MISSING_FRAGMENT
        elif kind == 1:
            if is_stuck(clock, tasks):
                return STUCK
        elif kind == 2:
            cycle(clock, hosts, tasks, tree, s, trace, out)
        else:
            submit(clock, tasks, s, out)
        if kind == 1 or clock[ENDING] == 1:
            sample(clock, hosts, tasks, clusters, s, trace, out, kind != 1)
        if clock[ENDING] == 1:
            clock[ENDING] = 0
            clock[CLOSE_AT] = at
            clock[CLOSE_SEQ] = take_number(clock)
        if kind == 0:
            settle(clock, hosts, tasks, clusters, s, trace)
        elif kind == 1:
            clock[TICK_NUMBER] += 1
            clock[TICK_AT] += clock[INTERVAL]
            clock[TICK_SEQ] = take_number(clock)
