"""A twin at work: takes windows one by one, simulates, prices, commits, learns, and can be taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from opendt.calibration.base import CalibrationOutcome, Prediction
from opendt.calibration.drift import DriftEvent
from opendt.calibration.factory import make_calibrator
from opendt.code_version import code_version
from opendt.engine.base import Engine, EngineOptions, EngineState, SimulationResult
from opendt.errors import ConfigError, LakeError, OpenDTError, SessionRewoundError, TransientError
from opendt.lake import Checkpoint, Lake, WindowCommit, WindowWriter
from opendt.lake.lake import RunState
from opendt.models.messages import StreamPosition
from opendt.models.telemetry import CarbonTrace, PowerSeries, no_carbon
from opendt.models.topology import Topology
from opendt.run_id import check_run_id
from opendt.settings import Settings
from opendt.twin import rows
from opendt.twin.align import align_readings, join_readings
from opendt.twin.memory import Memory
from opendt.twin.samples import Samples, samples_of
from opendt.twin.totals import RunSummary, Totals, WindowSummary
from opendt.units import G_PER_KG, J_PER_KWH, joules_to_kwh
from opendt.windows.batch import WindowBatch


def wall_clock_ms() -> int:
    """Epoch time now [ms]."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What a run is about, as stored with it. Raises ``InputError`` for an id that no address or file can carry."""

    run_id: str
    kind: str = "pipeline"
    trace: str | None = None
    trace_sha256: str | None = None
    trace_path: str | None = None

    def __post_init__(self) -> None:
        """Refuse an id that no address or file can carry."""
        check_run_id(self.run_id)


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with."""

    topology: Topology
    carbon: CarbonTrace


@dataclass(frozen=True, slots=True)
class Computed:
    """One window's results before they are committed."""

    result: SimulationResult
    samples: Samples
    outcome: CalibrationOutcome
    prediction: Prediction
    measured_w: np.ndarray
    readings: PowerSeries


class TwinSession:
    """The state of one run for one datacenter.

    Windows are committed in order from a thread behind the session, several to a transaction when they come fast. If
    a commit fails, the session goes back to the last committed window and says so with ``SessionRewoundError``.

    ``after_window`` is called after each window, for whatever else goes by windows.
    """

    def __init__(self, settings: Settings, lake: Lake, engine: Engine, identity: RunIdentity, start: Start) -> None:
        self.settings = settings
        self.lake = lake
        self.engine = engine
        self.identity = identity
        self.stages_s: dict[str, float] = {}
        self.after_window: Callable[[], None] = lambda: None
        self._start = start
        self._started = time.monotonic()
        self._rewind()
        self.resumed_at = self.memory.next_index

    @classmethod
    def open(
        cls,
        settings: Settings,
        lake: Lake,
        engine: Engine,
        identity: RunIdentity,
        topology: Topology,
        carbon: CarbonTrace | None = None,
    ) -> TwinSession:
        """Start a run, or take it up after its last committed window if the lake knows it.

        Raises:
            LakeError: the run is known with another trace, or its checkpoint is of another engine.
            TopologyError: the engine cannot simulate the topology.
        """
        session = cls(settings, lake, engine, identity, Start(topology, carbon or no_carbon()))
        session._register()
        return session

    def _rewind(self) -> None:
        """Take the state after the last committed window from the lake, or the start."""
        checkpoint = self.lake.latest_checkpoint(self.identity.run_id, self.settings.datacenter)
        self.state: EngineState
        if checkpoint is not None:
            self._check_engine(checkpoint.engine)
        self.memory = self._memory_of(checkpoint)
        if checkpoint is None:
            self.state = self.engine.start(self._start.topology, engine_options(self.settings), self._start.carbon)
        else:
            self.state = self.engine.state_from_bytes(_bytes(checkpoint.engine_state))
        self._calibrator = make_calibrator(
            self.settings.calibration, self.memory.topology, self.memory.calibrator or None
        )
        self._writer = WindowWriter(self.lake)

    def _memory_of(self, checkpoint: Checkpoint | None) -> Memory:
        return Memory(self._start.topology) if checkpoint is None else Memory.from_bytes(_bytes(checkpoint.twin_state))

    def _check_engine(self, name: str) -> None:
        if name != self.engine.name:
            raise LakeError(
                f"run {self.identity.run_id} was simulated with engine {name}, not {self.engine.name}. "
                f"Use --engine {name} or another run id.",
                run_id=self.identity.run_id,
            )

    @property
    def position(self) -> StreamPosition | None:
        """Where the stream goes on; None for the beginning."""
        return self.memory.position

    @property
    def next_index(self) -> int:
        """Number of the first uncommitted window."""
        return self.memory.next_index

    @property
    def drifts(self) -> list[DriftEvent]:
        """Changes of the cluster that calibration has found, oldest first; empty where the method looks for none."""
        return list(getattr(self._calibrator, "drifts", ()))

    def process(self, batch: WindowBatch) -> WindowSummary:
        """Simulate, price and hand one window to the lake, then learn from it.

        Raises:
            LakeError: the batch is not the next window.
            EngineError: the simulation failed; nothing of the window is written.
            SessionRewoundError: the lake could not take this window or one before it; go on reading from
                ``position``.
        """
        started = time.monotonic()
        if batch.index != self.memory.next_index:
            raise LakeError(
                f"window {batch.index} came where window {self.memory.next_index} of run {self.identity.run_id} "
                "is next. Windows must be processed in order.",
                index=batch.index,
            )
        state, computed = self._compute(batch)
        try:
            state, memory, row = self._learn(batch, computed, state)
            row["wall_ms"] = (time.monotonic() - started) * 1000
            with self._stage("lake"):
                self._writer.submit(self._commit(batch, computed, state, memory, row))
        except TransientError as error:
            raise self._rewound(error) from error
        changed = memory.topology.version != self.memory.topology.version
        self.state, self.memory = state, memory
        if changed:
            self._publish_topology("stream")
        self.after_window()
        return self._summary(batch, computed, row)

    def flush(self) -> None:
        """Wait until every window processed is committed. Raises ``SessionRewoundError`` when one could not be."""
        try:
            with self._stage("lake"):
                self._writer.flush()
        except TransientError as error:
            raise self._rewound(error) from error

    def _rewound(self, cause: OpenDTError) -> SessionRewoundError:
        self._rewind()
        return SessionRewoundError(
            f"windows could not be committed ({cause.message}); going on from window {self.next_index}",
            next_index=self.next_index,
        )

    def finish(self, proposals: list[dict[str, Any]] | None = None) -> RunSummary:
        """Commit what waits, mark the run completed and return its totals.

        ``proposals`` are rows of that table, stored with it. Raises ``SessionRewoundError`` like ``flush``.
        """
        self.flush()
        if proposals:
            self.lake.upsert("proposals", proposals)
        summary = self.summary("completed", len(proposals or ()))
        self._finish_run("completed", None)
        return summary

    def hand_over(self) -> None:
        """Commit what waits and end; the run goes on in whoever takes it up. Raises ``SessionRewoundError``."""
        self.flush()
        self._writer.close()

    def fail(self, reason: str, *, state: RunState = "failed") -> None:
        """Mark the run failed (or cancelled); what it committed stays, and it can be taken up again.

        Its totals are those of the committed windows, whatever was computed beyond them.
        """
        try:
            self._writer.close()
        except Exception as error:  # of whatever kind: the run has ended, and this tells why
            also = error.message if isinstance(error, OpenDTError) else f"{type(error).__name__}: {error}"
            reason = reason if also in reason else f"{reason}; {also}"
        self.memory = self._memory_of(self.lake.latest_checkpoint(self.identity.run_id, self.settings.datacenter))
        self._finish_run(state, reason)

    def _compute(self, batch: WindowBatch) -> tuple[EngineState, Computed]:
        memory = self.memory
        with self._stage("engine"):
            until_ms = None if batch.last else batch.end_ms
            state, result = self.engine.advance(self.state, batch.workload, until_ms)
            samples = samples_of(result, memory.topology, memory.previous_sample_ms)
        with self._stage("calibration"):
            outcome = self._calibrator.params_for(batch.start_ms)
            prediction = self._predict(outcome, samples)
            readings = join_readings(memory.pending, batch.power)
            interval_ms = self.settings.engine.sample_interval_s * 1000
            aligned = align_readings(
                samples.timestamp_ms, memory.previous_sample_ms, interval_ms, readings, last=batch.last
            )
        computed = Computed(result, samples, outcome, prediction, aligned.measured_w, aligned.pending)
        return state, computed

    def _predict(self, outcome: CalibrationOutcome, samples: Samples) -> Prediction:
        uncalibrated = Prediction(samples.power_w, _mean_power(samples))
        if outcome.calibration_id is None or samples.occupancy is None or len(samples) == 0:
            return uncalibrated
        return outcome.predict(samples.occupancy)

    def _learn(
        self, batch: WindowBatch, computed: Computed, state: EngineState
    ) -> tuple[EngineState, Memory, dict[str, Any]]:
        """What is true after the window: engine state, memory, and the ``windows`` row. The calibrator has learnt."""
        memory, samples = self.memory, computed.samples
        totals = Totals.from_dict(memory.totals.to_dict())
        persistence = np.full(len(samples), np.nan if memory.last_reading_w is None else memory.last_reading_w)
        row = rows.window_row(batch, computed.result, samples, computed.prediction, computed.measured_w) | {
            "mape_pct": totals.error.add(computed.prediction.power_w, computed.measured_w),
            "uncalibrated_mape_pct": totals.uncalibrated_error.add(samples.power_w, computed.measured_w),
            "persistence_mape_pct": totals.persistence_error.add(persistence, computed.measured_w),
            "topology_version": memory.topology.version,
            "calibration_id": computed.outcome.calibration_id,
        }
        row |= totals.energy_errors.bounds([row["energy_j"]], {name: row[name] for name in ("energy_j", "carbon_g")})
        calibrated = computed.outcome.calibration_id is not None
        totals.energy_errors.learn(samples, computed.prediction, computed.measured_w, calibrated=calibrated)
        totals.add_window(batch, computed.result, row, computed.prediction.power_w)
        topology = memory.topology
        with self._stage("calibration"):
            self._calibrator.observe(samples.occupancy, batch.power)
            if batch.topology is not None and batch.topology.version != topology.version:
                topology = batch.topology
                self._calibrator.use_topology(topology)
                state = self.engine.with_topology(state, topology)
        last_ms = int(samples.timestamp_ms[-1]) if len(samples) else memory.previous_sample_ms
        after = Memory(
            topology=topology,
            totals=totals,
            calibrator=self._calibrator.to_bytes(),
            position=batch.position,
            pending=computed.readings,
            last_reading_w=float(batch.power.power_w[-1]) if len(batch.power) else memory.last_reading_w,
            previous_sample_ms=last_ms,
            next_index=batch.index + 1,
        )
        return state, after, row

    def _commit(
        self, batch: WindowBatch, computed: Computed, state: EngineState, memory: Memory, row: dict[str, Any]
    ) -> WindowCommit:
        tables: dict[str, Any] = {
            "power_samples": rows.power_rows(
                computed.samples, computed.prediction, computed.measured_w, self.memory.last_reading_w
            ),
            "host_samples": rows.host_rows(computed.result),
            "task_events": rows.task_rows(computed.result, batch.workload.tasks),
        } | rows.rejected_rows(batch)
        if computed.outcome.record is not None:
            tables["calibrations"] = [computed.outcome.record | {"created_ms": wall_clock_ms()}]
            tables["calibration_trials"] = list(computed.outcome.trials)
        return WindowCommit(
            run_id=self.identity.run_id,
            datacenter=self.settings.datacenter,
            window_index=batch.index,
            rows=tables,
            window=row,
            checkpoint=Checkpoint(
                engine=self.engine.name,
                engine_state=state.to_bytes,
                twin_state=memory.to_bytes,
                offsets_json=batch.position.offsets_json(),
            ),
        )

    def _summary(self, batch: WindowBatch, computed: Computed, row: dict[str, Any]) -> WindowSummary:
        return WindowSummary(
            index=batch.index,
            start_ms=batch.start_ms,
            end_ms=batch.end_ms,
            tasks_arrived=row["tasks_arrived"],
            tasks_running=computed.result.tasks_running,
            tasks_waiting=computed.result.tasks_waiting,
            energy_kwh=float(joules_to_kwh(row["energy_j"])),
            mape_pct=row["mape_pct"],
            persistence_mape_pct=row["persistence_mape_pct"],
            late_records=len(batch.late),
            dead_letters=len(batch.dead),
            wall_ms=row["wall_ms"],
            last=batch.last,
        )

    def summary(self, state: RunState, proposals: int = 0) -> RunSummary:
        """The run's totals so far."""
        totals = self.memory.totals
        energy_kwh, carbon_kg = totals.energy_j / J_PER_KWH, totals.carbon_g / G_PER_KG
        bounds = totals.energy_errors.bounds(
            self._window_energies(), {"energy_kwh": energy_kwh, "carbon_kg": carbon_kg}, whole_run=True
        )
        return RunSummary(
            run_id=self.identity.run_id,
            datacenter=self.settings.datacenter,
            state=state,
            windows=self.memory.next_index,
            windows_recomputed=self.memory.next_index - self.resumed_at,
            tasks_seen=totals.tasks_seen,
            tasks_run=totals.tasks_run,
            tasks_dropped=totals.tasks_dropped,
            dropped=dict(totals.dropped),
            fragments=totals.fragments,
            energy_kwh=energy_kwh,
            energy_low_kwh=bounds["energy_low_kwh"],
            energy_high_kwh=bounds["energy_high_kwh"],
            energy_uncalibrated_kwh=totals.energy_uncalibrated_j / J_PER_KWH,
            energy_measured_kwh=totals.energy_measured_j / J_PER_KWH if totals.power_readings else None,
            carbon_kg=carbon_kg,
            carbon_low_kg=bounds["carbon_low_kg"],
            carbon_high_kg=bounds["carbon_high_kg"],
            peak_power_kw=totals.peak_power_w / 1000,
            mape_pct=totals.error.mean_pct,
            uncalibrated_mape_pct=totals.uncalibrated_error.mean_pct,
            persistence_mape_pct=totals.persistence_error.mean_pct,
            late_records=totals.late_records,
            duplicate_records=totals.duplicate_records,
            dead_letters=totals.dead_letters,
            proposals=proposals,
            wall_s=time.monotonic() - self._started,
            stages_s={name: round(seconds, 3) for name, seconds in self.stages_s.items()},
            lake=str(self.settings.lake.path),
        )

    def _window_energies(self) -> list[float]:
        """Simulated energy of each committed window [J]."""
        committed = "SELECT energy_j FROM windows WHERE run_id = ? AND datacenter = ? ORDER BY window_index"
        found = self.lake.rows(committed, [self.identity.run_id, self.settings.datacenter])
        return [row["energy_j"] for row in found]

    def _register(self) -> None:
        """Write the run's row and its topology. A run id belongs to one trace."""
        known = self.lake.rows(
            "SELECT trace, trace_sha256 FROM runs WHERE run_id = ? AND datacenter = ?",
            [self.identity.run_id, self.settings.datacenter],
        )
        if known and self.resumed_at and known[0]["trace_sha256"] != self.identity.trace_sha256:
            raise LakeError(
                f"run {self.identity.run_id} replays trace {known[0]['trace']} with other contents. "
                "Give the same trace to resume it, or another run id.",
                run_id=self.identity.run_id,
            )
        self.lake.start_run(
            self.identity.run_id,
            self.settings.datacenter,
            self.identity.kind,
            trace=self.identity.trace,
            trace_sha256=self.identity.trace_sha256,
            trace_path=self.identity.trace_path,
            engine=self.engine.name,
            engine_version=self.engine.version,
            code_version=code_version(),
            config_json=orjson.dumps(self.settings.public()).decode(),
            topology_version=self.memory.topology.version,
            window_ms=self.settings.windows.length_s * 1000,
        )
        self._publish_topology("trace")

    def _publish_topology(self, source: str) -> None:
        """Enter the topology in force, once per content."""
        topology, datacenter = self.memory.topology, self.settings.datacenter
        known = "SELECT 1 FROM topologies WHERE datacenter = ? AND version = ?"
        if self.lake.query(known, [datacenter, topology.version]).num_rows == 0:
            row = {
                "datacenter": datacenter,
                "version": topology.version,
                "topology_json": topology.to_json().decode(),
                "source": source,
                "run_id": self.identity.run_id,
                "created_ms": wall_clock_ms(),
            }
            self.lake.upsert("topologies", [row])

    def _finish_run(self, state: RunState, reason: str | None) -> None:
        summary = self.summary(state)
        self.lake.finish_run(
            self.identity.run_id,
            self.settings.datacenter,
            state,
            reason,
            dropped_json=orjson.dumps(summary.dropped).decode(),
            stages_json=orjson.dumps(summary.stages_s).decode(),
            **{name: getattr(summary, name) for name in _RUN_COLUMNS},
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages_s[name] = self.stages_s.get(name, 0.0) + time.monotonic() - started


_RUN_COLUMNS = (
    "windows", "tasks_seen", "tasks_run", "tasks_dropped", "fragments", "energy_kwh", "energy_low_kwh",
    "energy_high_kwh", "energy_uncalibrated_kwh", "energy_measured_kwh", "carbon_kg", "carbon_low_kg",
    "carbon_high_kg", "mape_pct", "uncalibrated_mape_pct", "persistence_mape_pct", "wall_s",
)  # fmt: skip


def engine_options(settings: Settings) -> EngineOptions:
    """Engine options from the settings. Raises ``ConfigError`` when host samples do not fall on power samples."""
    engine = settings.engine
    if engine.host_interval_s % engine.sample_interval_s:
        raise ConfigError(
            f"engine.host_interval_s {engine.host_interval_s} is not a multiple of engine.sample_interval_s "
            f"{engine.sample_interval_s}. Choose a multiple, or 0 for no host samples."
        )
    return EngineOptions(
        sample_interval_ms=engine.sample_interval_s * 1000,
        host_every=engine.host_interval_s // engine.sample_interval_s,
        scaling=engine.scaling,
        allocation=dict(engine.allocation),
        seed=engine.seed,
    )


def _mean_power(samples: Samples) -> np.ndarray:
    """Average power over each sample's interval [W]; the power itself where the interval is empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(samples.interval_s > 0, samples.energy_j / samples.interval_s, samples.power_w)


def _bytes(state: Any) -> bytes:
    return state() if callable(state) else state
