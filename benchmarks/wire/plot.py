"""Draw what ``benchmarks.wire`` measured: ``python -m benchmarks.wire.plot --results FILE.json --out FILE.png``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import tyro

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

OURS, OTHERS, GOAL = "#1b6ca8", "#9aa5b1", "#c0392b"


@dataclass(frozen=True, kw_only=True)
class PlotConfig:
    """Draw what was measured."""

    results: Path
    """JSON file of ``benchmarks.wire``."""
    out: Path
    """PNG file to write."""


def draw_designs(axes: Axes, designs: dict[str, Any]) -> None:
    """Draw bytes a frame by design."""
    sizes = designs["bytes_per_frame"]
    names = sorted(sizes, key=sizes.get, reverse=True)
    bars = axes.barh(
        names, [sizes[name] for name in names], color=[OURS if "ours" in name else OTHERS for name in names]
    )
    axes.bar_label(bars, fmt=" %.1f")
    axes.set_xscale("log")
    axes.set_xlim(4, 500)
    axes.set_xlabel("bytes a frame, keyframes counted")


def draw_quality(axes: Axes, quality: dict[str, Any]) -> None:
    """Draw what each way to round costs in LPIPS, and in bytes."""
    steps = {name: row for name, row in quality["steps"].items() if not name.endswith("not rounded")}
    names = list(steps)[::-1]
    changes = [steps[name]["lpips_change_percent"] for name in names]
    bars = axes.barh(names, changes, color=[OURS if "coded" in name else OTHERS for name in names])
    sizes = [steps[name].get("bytes_per_frame") for name in names]
    labels = [
        f" {change:+.2f}" + (f"; {size:.1f} bytes" if size is not None else "")
        for change, size in zip(changes, sizes, strict=True)
    ]
    axes.bar_label(bars, labels)
    axes.axvline(1, color=GOAL, linewidth=1)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-5, 200)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("LPIPS against keypoints that are not rounded, %; bytes a frame")


def draw_levers(axes: Axes, levers: dict[str, Any]) -> None:
    """Draw bits a second on the wire by lever, and the delay that it adds."""
    names = list(levers["calls"])[::-1]
    rows = [levers["calls"][name] for name in names]
    bars = axes.barh(names, [row["video_wire_kbps"] for row in rows], color=OURS)
    axes.bar_label(bars, [f" {row['video_wire_kbps']:.1f}, +{row['added_ms_p50']:.0f} ms" for row in rows])
    for goal in (8, 16):
        axes.axvline(goal, color=GOAL, linewidth=1)
    axes.margins(x=0.25)
    axes.set_xlabel("kbit/s of pictures, all headers counted; delay added, p50")


def draw_loss(axes: Axes, loss: dict[str, Any]) -> None:
    """Draw frames in time and PSNR by kind of loss."""
    names = list(loss["calls"])[::-1]
    rows = [loss["calls"][name] for name in names]
    bars = axes.barh(names, [100 * row["in_time"] for row in rows], color=OURS)
    without = loss["calls"]["none"]["psnr_db"]
    axes.bar_label(bars, [f" {100 * row['in_time']:.1f}%, {row['psnr_db'] - without:+.2f} dB" for row in rows])
    axes.axvline(99, color=GOAL, linewidth=1)
    axes.set_xlim(80, 106)
    axes.set_xlabel("frames there within 100 ms of their time, %; PSNR against no loss")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw."""
    config = tyro.cli(PlotConfig, args=argv, prog="python -m benchmarks.wire.plot", description=__doc__)
    results = json.loads(config.results.read_text())
    figure, grid = pyplot.subplots(2, 2, figsize=(16, 9), layout="constrained")
    parts = {"designs": draw_designs, "quality": draw_quality, "levers": draw_levers, "loss": draw_loss}
    titles = ("Bytes a frame", "What a step costs", "Headers", "Loss")
    for axes, (part, draw), title in zip(grid.flat, parts.items(), titles, strict=True):
        axes.set_title(title)
        if part in results:
            draw(axes, results[part])
    figure.savefig(config.out, dpi=80)
    sys.stdout.write(f"{config.out}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
