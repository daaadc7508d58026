"""Whether every task's fragments came, and what stands in for those that did not.

A producer promises a number of fragments with each task, and an engine needs them in time. A chunk that was unreadable
or too late leaves a hole; the run goes on with a stand-in that keeps counts and times right: one fragment that lasts as
long as the hole and asks for what the task asked for last, the rest of the missing ones of zero length. Stand-ins
are counted, and the task is reported once among the dead letters.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

from opendt.models.messages import DeadLetter, FragmentChunk, OpenTask, TaskHead

_PROMISED, _RECEIVED, _KNOWN_END, _DUE_END, _LAST_CPU, _TOPIC, _PARTITION, _OFFSET, _FILLED, _NAME = range(10)


class OpenTasks:
    """Tasks that wait for fragments. Fed window by window, in event-time order."""

    def __init__(self, known: Mapping[int, OpenTask] | None = None) -> None:
        self._tasks: dict[int, list] = {number: list(task) for number, task in (known or {}).items()}
        self.filled = 0
        self.dead: list[DeadLetter] = []

    def snapshot(self) -> dict[int, OpenTask]:
        """The open tasks, to be kept in a position."""
        return {number: OpenTask._make(task) for number, task in self._tasks.items()}

    def announce(self, head: TaskHead, topic: str, partition: int, offset: int) -> None:
        """A task was submitted."""
        if head.fragment_count > 0:
            self._tasks[head.task_id] = [
                head.fragment_count, 0, head.submission_ms, head.submission_ms + head.duration_ms, 0.0,
                topic, partition, offset, 0, head.name,
            ]  # fmt: skip

    def take(self, chunk: FragmentChunk) -> tuple[list[FragmentChunk], str]:
        """The chunk with what has to stand before it, or nothing and the reason why it cannot be used."""
        task = self._tasks.get(chunk.task_id)
        if task is None:
            return [], "fragments of a task that was not announced or is complete"
        received = task[_RECEIVED]
        if chunk.first < 0:
            chunk.first = received
        if chunk.first < received:
            return [], f"fragments {chunk.first}.. of task {task[_NAME]} came already or were filled in"
        if chunk.first + chunk.count > task[_PROMISED]:
            return [], f"fragments beyond the {task[_PROMISED]} that task {task[_NAME]} promised"
        pieces = []
        if chunk.first > received:
            pieces.append(self._fill(chunk.task_id, task, chunk.first - received, chunk.time_ms))
        pieces.append(chunk)
        task[_RECEIVED] = chunk.first + chunk.count
        task[_KNOWN_END] = chunk.end_ms
        cpu = chunk.cpu_usage_mhz
        task[_LAST_CPU] = cpu if isinstance(cpu, float) else cpu[-1]
        if task[_RECEIVED] == task[_PROMISED]:
            del self._tasks[chunk.task_id]
        return pieces, ""

    def close(self, end_ms: int, *, last: bool) -> list[FragmentChunk]:
        """Stand-ins for tasks whose next fragment should have begun before ``end_ms`` and did not come."""
        pieces = []
        for number, task in list(self._tasks.items()):
            if not last and task[_KNOWN_END] >= end_ms:
                continue
            missing = task[_PROMISED] - task[_RECEIVED]
            until = max(task[_KNOWN_END], min(end_ms, task[_DUE_END]))
            over = last or task[_DUE_END] <= end_ms or missing == 1
            pieces.append(self._fill(number, task, missing if over else 1, until))
            task[_RECEIVED] += missing if over else 1
            task[_KNOWN_END] = until
            if over:
                del self._tasks[number]
        return pieces

    def _fill(self, number: int, task: list, count: int, until_ms: int) -> FragmentChunk:
        if not task[_FILLED]:
            reason = (
                f"task {task[_NAME]}: fragments from number {task[_RECEIVED]} of {task[_PROMISED]} did not come; "
                f"{task[_LAST_CPU]:g} MHz stands in for them"
            )
            self.dead.append(DeadLetter(task[_TOPIC], task[_PARTITION], task[_OFFSET], reason, b"", 0))
        task[_FILLED] += count
        self.filled += count
        gap_ms = max(0, until_ms - task[_KNOWN_END])
        durations = array("q", [gap_ms] + [0] * (count - 1))
        return FragmentChunk(task[_KNOWN_END], number, task[_RECEIVED], count, durations, float(task[_LAST_CPU]))
