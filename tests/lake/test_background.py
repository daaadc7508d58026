"""Windows committed from the writer's thread: in order, several at once, errors handed back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from opendt.errors import LakeBusyError, LakeError
from opendt.lake import CommitReport, Lake, WindowCommit, WindowWriter
from opendt.lake.writer import PreparedWindow

Window = Callable[..., WindowCommit]


class SlowLake:
    """Stands in for a lake: holds each commit until released, remembers the batches."""

    def __init__(self, error: Exception | None = None) -> None:
        self.released = threading.Event()
        self.entered = threading.Event()
        self.error = error
        self.batches: list[list[int]] = []

    def commit_prepared(self, windows: Sequence[PreparedWindow]) -> CommitReport:
        self.entered.set()
        assert self.released.wait(10)
        if self.error:
            raise self.error
        self.batches.append([w.commit.window_index for w in windows])
        return CommitReport(len(self.batches), 0.0, 1)


def test_flush_means_committed(lake: Lake, window: Window) -> None:
    with WindowWriter(lake) as writer:
        for index in range(5):
            writer.submit(window(index))
        writer.flush()
        assert lake.committed_windows("run-a") == [0, 1, 2, 3, 4]
        writer.submit(window(5))
    saved = lake.latest_checkpoint("run-a", "dc")
    assert saved is not None
    assert saved.window_index == 5


def test_windows_that_came_during_a_commit_go_together_in_the_next_one(window: Window) -> None:
    slow = SlowLake()
    seen: list[int] = []
    with WindowWriter(slow, max_batch=3, on_committed=lambda commits, _: seen.append(len(commits))) as writer:  # type: ignore[arg-type]
        writer.submit(window(0))
        assert slow.entered.wait(10)
        for index in range(1, 6):
            writer.submit(window(index))
        slow.released.set()
        writer.flush()
    assert slow.batches == [[0], [1, 2, 3], [4, 5]]
    assert seen == [1, 3, 2]


def test_submit_blocks_when_too_many_wait(window: Window) -> None:
    slow = SlowLake()
    with WindowWriter(slow, max_pending=1) as writer:  # type: ignore[arg-type]
        writer.submit(window(0))
        assert slow.entered.wait(10)
        writer.submit(window(1))
        third = threading.Thread(target=writer.submit, args=(window(2),))
        third.start()
        third.join(0.05)
        assert third.is_alive()
        slow.released.set()
        third.join(10)
        assert not third.is_alive()
    assert [index for batch in slow.batches for index in batch] == [0, 1, 2]


def test_failed_commit_reaches_the_caller_and_nothing_follows_it(window: Window) -> None:
    slow = SlowLake(LakeBusyError("locked for too long"))
    writer = WindowWriter(slow)  # type: ignore[arg-type]
    writer.submit(window(0))
    assert slow.entered.wait(10)
    writer.submit(window(1))
    slow.released.set()
    with pytest.raises(LakeBusyError, match="locked"):
        writer.flush()
    with pytest.raises(LakeBusyError, match="locked"):
        writer.submit(window(2))
    with pytest.raises(LakeBusyError, match="locked"):
        writer.close()
    assert slow.batches == []


def test_wrong_rows_are_refused_when_submitted(lake: Lake, window: Window) -> None:
    with WindowWriter(lake) as writer:
        with pytest.raises(LakeError, match="no table nonsense"):
            writer.submit(replace(window(0), rows={"nonsense": {}}))
        writer.submit(window(0))
    assert lake.committed_windows("run-a") == [0]


def test_error_in_the_block_still_commits_what_was_submitted(lake: Lake, window: Window) -> None:
    def stop_after_one() -> None:
        with WindowWriter(lake) as writer:
            writer.submit(window(0))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stop_after_one()
    assert lake.committed_windows("run-a") == [0]


def test_closed_writer_refuses(lake: Lake, window: Window) -> None:
    writer = WindowWriter(lake)
    writer.close()
    with pytest.raises(LakeError, match="closed"):
        writer.submit(window(0))
