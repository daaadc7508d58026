"""What-if questions over HTTP: the problem is kept warm per run, and time is limited between variants."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from opendt.api.context import Context
from opendt.api.models import VariantBody, WhatIfRequest
from opendt.errors import InputError, TransientError
from opendt.lake import Lake
from opendt.lake.reader import RunKey
from opendt.optimize.slo import slo_in_force
from opendt.optimize.sources import Period, find_trace, from_run
from opendt.optimize.space import POLICIES
from opendt.optimize.trials import Problem
from opendt.optimize.whatif import Variant, VariantResult, WhatIf, run_whatif
from opendt.traces import read_trace
from opendt.units import MS_PER_HOUR, parse_time_ms


class WhatIfDesk:
    """Answers what-if questions, one at a time; keeps the last few problems."""

    def __init__(self, ctx: Context, *, keep: int = 4, clock: Callable[[], float] = time.monotonic) -> None:
        self._ctx = ctx
        self._keep = keep
        self._clock = clock
        self._problems: OrderedDict[Any, Problem] = OrderedDict()
        self._turn = threading.Lock()

    def answer(self, asked: WhatIfRequest) -> dict[str, Any]:
        """Simulate the variants beside the baseline.

        Variants not reached within ``api.whatif_timeout_s`` come back as failed, with that reason.

        Raises ``NotFoundError`` for an unknown run, ``InputError`` for changes that make no sense, ``TransientError``
        while other questions take too long.
        """
        started = self._clock()
        variants = [_variant(body, number) for number, body in enumerate(asked.variants, 1)]
        run = self._ctx.run_key(asked.run_id, asked.datacenter)
        start, end = _time(asked.start_time, "start_time"), _time(asked.end_time, "end_time")
        period = self._period(run, start, end, asked.last_hours)
        with self._my_turn():
            problem = self._problem(run, period)
            found = self._simulate(problem, variants, started)
        return found.as_dict() | {"run_id": run.run_id, "datacenter": run.datacenter}

    def prepare(self, run_id: str, *, last_hours: float) -> None:
        """Simulate the baseline of a run's last hours now, so that the first question about it is answered at once."""
        run = self._ctx.run_key(run_id)
        with self._my_turn():
            self._problem(run, self._period(run, None, None, last_hours))

    def _simulate(self, problem: Problem, variants: list[Variant], started: float) -> WhatIf:
        limit_s = self._ctx.settings.api.whatif_timeout_s
        first = run_whatif(problem, variants[:1])
        results = list(first.variants)
        for variant in variants[1:]:
            if self._clock() - started > limit_s:
                reason = f"not simulated: the time limit of {limit_s:g} s was reached"
                results.append(VariantResult(variant, None, reason))
            else:
                results += run_whatif(problem, [variant]).variants
        return WhatIf(first.baseline, tuple(results), self._clock() - started, first.workload)

    def _problem(self, run: RunKey, period: Period | None) -> Problem:
        settings = self._ctx.settings.model_copy(update={"datacenter": run.datacenter})
        with self._ctx.store() as store:
            slo = slo_in_force(settings, store).slo
        key = (run, period, self._ctx.lake.version(run), slo.model_dump_json())
        if key in self._problems:
            self._problems.move_to_end(key)
            return self._problems[key]
        lake = cast(Lake, self._ctx.lake)  # asks only for rows
        trace = read_trace(self._trace_folder(run))
        problem = from_run(settings, lake, run.run_id, slo, trace=trace, period=period).problem
        self._problems[key] = problem
        if len(self._problems) > self._keep:
            self._problems.popitem(last=False)
        return problem

    def _trace_folder(self, run: RunKey) -> Path:
        """The folder the run read its trace from, else one of that name below ``api.trace_folders``.

        Raises ``InputError`` naming them.
        """
        (row,) = self._ctx.lake.rows(
            "SELECT * FROM runs WHERE run_id = ? AND datacenter = ?", [run.run_id, run.datacenter]
        )
        path = row.get("trace_path")  # lakes written before it was kept have no such column until the next run
        folders = self._ctx.settings.api.trace_folders
        for folder in folders:
            try:
                return find_trace(run.run_id, row["trace"], folder, path=path)
            except InputError:
                continue
        if not row["trace"]:
            raise InputError(
                f"run {run.run_id} took its workload from a live stream, which the lake does not keep: what-if needs a "
                "run that replayed a trace.",
                run_id=run.run_id,
            )
        where = f" (it was in {path})" if path else ""
        raise InputError(
            f"run {run.run_id} took its workload from trace {row['trace']}{where}, which is not below "
            f"{', '.join(map(str, folders))}. Put it there, or add its folder to api.trace_folders.",
            run_id=run.run_id,
        )

    def _period(self, run: RunKey, start_ms: int | None, end_ms: int | None, last_hours: float | None) -> Period | None:
        if last_hours is not None:
            (last,) = self._ctx.lake.rows(
                "SELECT max(end_ms) AS end_ms FROM windows WHERE run_id = ? AND datacenter = ?",
                [run.run_id, run.datacenter],
            )
            if last["end_ms"] is None:
                raise InputError(f"run {run.run_id} has not committed a window yet.", run_id=run.run_id)
            end_ms = last["end_ms"] if end_ms is None else end_ms
            start_ms = int(end_ms - last_hours * MS_PER_HOUR) if start_ms is None else start_ms
        return None if start_ms is None and end_ms is None else Period(start_ms, end_ms)

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._ctx.settings.api.whatif_timeout_s):
            raise TransientError("other what-if questions are being simulated. Try again.")
        try:
            yield
        finally:
            self._turn.release()


def _variant(body: VariantBody, number: int) -> Variant:
    policy = body.allocation
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise InputError(f"allocation {policy} is not a policy; there are {', '.join(POLICIES)}.")
        policy = {"type": "prefab", "policyName": policy}
    if not body.changes and policy is None:
        raise InputError(f"variant {number} changes nothing: give changes or an allocation.")
    return Variant(body.name or f"variant {number}", body.changes, policy)


def _time(text: str | None, name: str) -> int | None:
    try:
        return None if text is None else parse_time_ms(text)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{name}: {error}.") from None
