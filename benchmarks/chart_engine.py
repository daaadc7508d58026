"""Draw docs/images/engine-speed.svg from the results of ``bench_engine_scale.py``.

Usage::

    python benchmarks/chart_engine.py [--results FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, CHART = HERE / "results/engine_scale.json", HERE.parent / "docs/images/engine-speed.svg"
OPENDC, NATIVE = "#b3541e", "#1f6f8b"


def bars(axis: Any, week: dict[str, Any]) -> None:
    """Processor seconds for the week, OpenDC beside the native engine, on a logarithmic axis."""
    files, memory = week["files_to_files"], week["in_memory"]
    found = [("native: new process,\nfiles to files", files["native"]["cpu_s"], files["native"]["wall_s"], NATIVE)]
    if "opendc" in files:
        row = files["opendc"]
        found.insert(0, ("OpenDC: new process,\nfiles to files", row["cpu_s"], row["wall_s"], OPENDC))
    found += [
        (f"native: {memory['windows']} windows,\nin memory", memory["windowed_cpu_s"], memory["windowed_s"], NATIVE),
        ("native: whole week,\nin memory", memory["warm_cpu_s"], memory["warm_s"], NATIVE),
    ]
    labels, seconds, wall, colours = zip(*reversed(found), strict=True)
    drawn = axis.barh(labels, seconds, color=colours)
    said = [f"{s:.2g} s ({w:.2g} s wall)" for s, w in zip(seconds, wall, strict=True)]
    axis.bar_label(drawn, said, padding=3, fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(min(seconds) / 3, max(seconds) * 30)
    axis.set_title(f"{week['trace']} trace, all tables every {week['interval_s']} s", fontsize=10)
    axis.set_xlabel("seconds (processor)")


def lines(axis: Any, rows: list[dict[str, Any]], by: str, title: str) -> None:
    """Processor seconds over a size, both logarithmic, with the line of equal growth."""
    rows = sorted(rows, key=lambda row: row[by])
    size, seconds = [row[by] for row in rows], [row["cpu_s"] for row in rows]
    axis.plot(size, seconds, "o-", color=NATIVE)
    for row in rows:
        axis.annotate(f"{row['cpu_s']:.2g} s", (row[by], row["cpu_s"]), textcoords="offset points", xytext=(0, 7),
                      ha="center", fontsize=8)  # fmt: skip
    axis.plot(size, [seconds[-1] * s / size[-1] for s in size], ":", color="grey", linewidth=1)
    axis.set(xscale="log", yscale="log", xlabel=by, ylim=(min(seconds) / 4, max(seconds) * 4))
    axis.set_ylabel("seconds (processor)")
    axis.set_title(title, fontsize=10)


def main() -> None:
    """Read the results, write the chart."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "opendt", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=CHART)
    chosen = parser.parse_args()
    found = json.loads(chosen.results.read_text())
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    if "week" in found:
        bars(axes[0], found["week"])
    else:
        axes[0].set_axis_off()
    lines(axes[1], found["by_tasks"], "tasks", "native: ten fragments per task")
    lines(axes[2], found["by_hosts"], "hosts", "native: 100,000 tasks")
    figure.savefig(chosen.out, metadata={"Date": None})
    chosen.out.write_text("\n".join(line.rstrip() for line in chosen.out.read_text().splitlines()) + "\n")
    print(f"written to {chosen.out}")


if __name__ == "__main__":
    main()
