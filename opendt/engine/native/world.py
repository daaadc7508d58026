"""The arrays kernels work on, grouped by what they describe. Times are ms since the first submission.

Tables are record arrays, one record per host, task or cluster: few arguments for the compiler, and what belongs
together lies together in memory. Scalars that change live in ``clock`` at the positions below.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

FAR = np.iinfo(np.int64).max  # later than everything

# Positions in ``clock`` (int64).
NOW = 0  # time of the last event
SEQUENCE = 1  # next insertion number of the master queue
TICK_AT, TICK_SEQ, TICK_NUMBER = 2, 3, 4  # next sample, its insertion number, its number k (time / interval)
CYCLE_AT, CYCLE_SEQ = 5, 6  # pending scheduler cycle (FAR when none)
SUBMIT_SEQ = 7  # insertion number reserved for the next submission
NEXT_TASK = 8  # first slot not yet submitted
QUEUE_HEAD, QUEUE_TAIL = 9, 10  # waiting tasks are queue[head:tail]
WAKES = 11  # entries on the stack of pending WAKE items
SUBMITTED, ACTIVE, COMPLETED, TERMINATED = 12, 13, 14, 15  # counters of the service table
CLOSE_AT, CLOSE_SEQ = 16, 17  # end of the run (FAR before)
CARBON_NEXT = 18  # index of the next step of the carbon trace
STARTING = 19  # tasks placed in a cycle whose first fragment begins in the next WAKE
ACTIVE_HOSTS = 20  # hosts on the active list
STARTED_CALL, COMPLETED_CALL, TERMINATED_CALL = 21, 22, 23  # counters of one call
FINAL = 24  # 1 when the run ends with the last task known
INTERVAL = 25  # sample interval
HOST_EVERY, TASK_ROWS, KNOTS = 26, 27, 28  # what to record
UNTIL = 29  # events from here on belong to the next call
WAITING_PARENTS = 30  # submitted tasks whose parents have not completed
PHASE = 31  # 0 outside WAKEs, 1 and 2 inside
FAULT = 32  # slot of the task an error is about
ROWS = 33  # tasks on the list of task rows
LAST = 34  # slot that completed last
HOST_ROWS_AT = 35  # time of the last host rows
OCCUPIED_SINCE = 36  # start of the current occupancy interval
HEAP, BUCKETS = 37, 38  # timers in use, lists of timers free
ENDING = 39  # 1 when the last task has ended and the final sample is due
DIRTY = 40  # hosts whose demand must be summed again
RESHARE = 41  # 1 when capacities changed between calls
ORIGIN = 42  # epoch time of the first submission
USUAL = 43  # length of fragments whose ends stand in a line
LINE_HEAD, LINE_TAIL = 44, 45
CLOCK_SIZE = 48

# Why a kernel returned.
DONE, FULL, MISSING_FRAGMENT, STUCK = 0, 1, 2, 3

# Task states.
KNOWN, WAITING, RUNNING, COMPLETE, TERMINATE, BLOCKED, FAILED, PAUSED = 0, 1, 2, 3, 4, 5, 6, 7
STATE_NAMES = (
    "CREATED", "PROVISIONING", "RUNNING", "COMPLETED", "TERMINATED", "PROVISIONING", "FAILED", "PAUSED",
)  # fmt: skip

# Event codes of the log.
EVENT_SUBMITTED, EVENT_SCHEDULED, EVENT_COMPLETED, EVENT_TERMINATED, EVENT_FAILED = 0, 1, 2, 3, 4
EVENT_NAMES = ("submitted", "scheduled", "completed", "terminated", "failed")


def _record(text: str) -> np.dtype[Any]:
    """A record type from lines of ``name type meaning``."""
    fields = [line.split(maxsplit=2)[:2] for line in text.strip().splitlines()]
    return np.dtype([(name, {"int": "<i8", "float": "<f8"}[kind]) for name, kind in fields], align=True)


# One record per host, in creation order.
HOST = _record("""
wanted_mhz float sum of the tasks' demands, with what is below its last bit
wanted_low float
demand_mhz float what rows and power know of it
capacity_mhz float
power_w float
dirty int must be refreshed in this instant
group int host type over all clusters
cluster int
instances int tasks placed
counted_ms int processor times and energy are counted up to here
energy_j float since the last host row, like the times
active_ms int
idle_ms int
steal_ms int
occupied_ms int occupancy is counted up to here
listed int position on the active list, -1 when not on it
first int tasks in order of arrival: a doubly linked list
last int
reserved int cores promised to tasks
free_mib int
cores int
memory_mib int
open int 1 while new tasks may be placed here
ordinal int number among the hosts of the group
""")

# One record per live task ("slot"), in order of submission. What every fragment touches comes first.
TASK = _record("""
host int last host, -1 before the first
left int fragments not yet begun, whether they have arrived or not
at int next fragment
end int one past the last fragment that has arrived
demand_mhz float
ahead_mhz float usage of the next fragment, read one fragment early: the processor need not wait for it
ahead_ms int its duration
deadline_ms int end of the current fragment, FAR when none runs
fragments int how many it has in all
counted_ms int for the task table, like the nine columns at the end
next int tasks of the same host
previous int
id int
submit_ms int
cpu_count int
mem_mib int
cpu_capacity_mhz float
uses_cpu int whether any fragment asks for more than 0 MHz
state int
schedule_ms int -1 before
finish_ms int -1 before
waits_for int parents not yet completed
counted_demand float
supply_mhz float
active_ms int since the start of the task
idle_ms int of the last stretch counted
steal_ms int
active_reported int
idle_reported int
steal_reported int
up_since_ms int uptime is reported up to here
""")

# One record per cluster. Power is a sum of two doubles, so that millions of changes add no error.
CLUSTER = _record("""
power_w float
power_low_w float
since_ms int energy is counted up to here
piece_j float energy since the last carbon step or sample
energy_j float energy of pieces before, since the last sample
carbon_g float since the last sample
intensity float
total_j float since the beginning, up to since_ms
total_g float since the beginning, without the current piece
has_carbon int
""")

# Node of the segment tree over hosts, for policies that rank by one number (``placement.py``).
NODE = _record("""
key float
room int free cores
memory_room float
""")

WAKE = _record("""
at int
number int insertion number
""")

BUCKET = _record("""
at int
bucket int
""")

DUE = _record("""
at int
slot int
""")


class Output(NamedTuple):
    """Rows written by a call, one column per line of a two-dimensional array.

    ``used`` holds the row counts: samples, host rows, task rows, events.
    """

    used: Any
    sample_ms: Any
    service: Any  # (sample, column)
    source: Any  # (sample, cluster, power/energy/intensity/emission)
    host_int: Any  # time, epoch time, active, idle, steal
    host_float: Any  # usage, demand, power, energy, utilisation
    host_tasks: Any  # tasks running
    task_int: Any  # time, epoch time, memory, active, idle, steal, uptime, schedule, submission, finish
    task_small: Any  # id (where it fits), processors, slot, host, state
    task_float: Any  # limit, usage, demand
    event: Any  # slot, kind, time, host
    weights: Any  # (sample, group, knot)
    mean_weights: Any
    active_hosts: Any  # (sample, group)


class Scratch(NamedTuple):
    """Working memory of a call."""

    queue: Any
    starting: Any
    row_slots: Any  # submitted tasks that still get task rows
    changed: Any  # slots whose fragment ended at the current time
    chained: Any
    dirty_hosts: Any
    active_hosts: Any
    wakes: Any  # stack of pending WAKE items
    line: Any
    heap: Any
    recent: Any
    bucket_first: Any
    bucket_free: Any
    bucket_next: Any  # next slot in the same bucket
    occupancy: Any  # (group, knot), host ms of the current sample interval
    share: Any
    share_order: Any
    stack: Any  # of a search in the tree
    candidate: Any  # hosts a policy considers, with their weights
    raw: Any
    total: Any


class Trace(NamedTuple):
    """What does not change during a call: fragments, carbon trace, policy, curves, dependencies."""

    duration_ms: Any
    usage_mhz: Any
    carbon_ms: Any
    carbon_value: Any
    policy: Any
    policy_values: Any
    filters: Any
    weighers: Any
    curve_kind: Any
    curve_values: Any
    curve_levels: Any
    group_hosts: Any
    child_start: Any
    child: Any
    limits: Any  # most cores and most memory of any host
    random: Any  # states of the generators (uint64)
