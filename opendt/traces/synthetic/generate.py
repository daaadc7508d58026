"""``make_trace``: a whole synthetic trace folder from options."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from opendt.traces.synthetic.cluster import hidden_topology, make_topology
from opendt.traces.synthetic.grid import make_carbon
from opendt.traces.synthetic.jobs import make_workload
from opendt.traces.synthetic.meter import Metered, meter
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.traces.writer import new_folder, write_carbon, write_power, write_topology, write_workload
from opendt.units import iso

TRUTH = "truth.json"


@dataclass(frozen=True, slots=True)
class Made:
    """What was generated."""

    path: Path
    tasks: int
    tasks_run: int
    fragments: int
    power_samples: int
    energy_kwh: float
    floor_mape_pct: float


def make_trace(dest: Path | str, options: SyntheticOptions | None = None, *, force: bool = False) -> Made:
    """Generate a trace folder: the four Parquet files, ``topology.json``, ``truth.json`` and a README.

    ``topology.json`` holds a plausible but wrong power model; ``truth.json`` the hidden one, noise, drift and gaps.
    Workload, carbon and meter draw from separate streams of the seed, so another curve or more noise leaves the
    workload as it is. The same options give the same bytes. The folder appears whole or not at all.

    Raises:
        TraceError: the folder is not empty and ``force`` is not given, or cannot be written.
        ConfigError: an option is out of range.
    """
    options = options or SyntheticOptions()
    path = Path(dest)
    workload_rng, carbon_rng, meter_rng = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(options.seed).spawn(3)
    )
    with new_folder(path, force) as folder:
        workload = make_workload(options, workload_rng)
        hidden = hidden_topology(options)
        metered = meter(options, hidden, workload, meter_rng)
        write_workload(folder, workload)
        write_power(folder, metered.power, options.interval_ms, int(workload.tasks.submission_ms.min()))
        write_carbon(folder, make_carbon(options, carbon_rng))
        write_topology(folder, make_topology(options))
        truth = _truth(options, metered, [host.cpuPowerModel for host in hidden.clusters[0].hosts])
        (folder / TRUTH).write_bytes(orjson.dumps(truth, option=orjson.OPT_INDENT_2) + b"\n")
        (folder / "README.md").write_text(_readme(path.name, options))
    return Made(
        path=path,
        tasks=len(workload.tasks),
        tasks_run=int(workload.runnable.sum()),
        fragments=len(workload.fragments),
        power_samples=len(metered.power),
        energy_kwh=metered.energy_kwh,
        floor_mape_pct=metered.floor_mape_pct,
    )


def _truth(options: SyntheticOptions, metered: Metered, models: list[Any]) -> dict[str, Any]:
    drift = None
    if options.drift_ms is not None:
        drift = {"at_ms": options.drift_ms, "at": iso(options.drift_ms), "change_pct": options.drift_pct}
    return {
        "version": 1,
        "options": asdict(options),
        "hidden_power_models": [model.model_dump(mode="json") for model in models],
        "noise_pct": options.noise_pct,
        "floor_mape_pct": metered.floor_mape_pct,
        "energy_kwh": metered.energy_kwh,
        "drift": drift,
        "gaps_ms": metered.gaps,
    }


def _readme(name: str, options: SyntheticOptions) -> str:
    words = [f"--{key.replace('_', '-')} {value:g}" for key, value in asdict(options).items()
             if isinstance(value, int | float) and key not in ("start_ms", "core_speed_mhz", "interval_s")]  # fmt: skip
    return (
        f"# {name}\n\nA synthetic cluster recording, no real data. Made with\n\n"
        f"    opendt trace make {name} {' '.join(words)} --interval {options.interval_s} --curve {options.curve}\n\n"
        "`topology.json` holds the power model of the datasheet, which is wrong on purpose; `truth.json` tells the "
        "power curve,\nnoise, drift and gaps behind `consumption.parquet`.\n"
    )
