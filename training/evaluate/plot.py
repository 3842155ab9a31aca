"""Evaluation ``rd``, drawn: quality over bitrate, payload and wire, as PNG and SVG. Reads the JSON's values alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from codec.errors import OutputError, TrainingError
from training.evaluate.curves import coders, curve
from training.evaluate.rate_distortion import FROZEN, OURS, Point

METRICS = (
    ("lpips_alex", "LPIPS-Alex (lower is better)"),
    ("mouth_lpips", "LPIPS-Alex of the mouth"),
    ("akd", "AKD, pixels"),
    ("psnr_db", "PSNR, dB (higher is better)"),
)
RATES = (("payload_bits_per_s", "payload, kbit/s"), ("wire_bits_per_s", "wire, kbit/s"))
COLOURS = ("#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
OUR_COLOUR = "#d62728"
TICKS_KBIT = (1, 2, 5, 10, 20, 50, 100, 200)


def draw(points: list[Point], title: str, paths: list[Path]) -> None:
    """Draw mean points and write the figure to each path, in the format that its suffix names.

    Args:
        points: what ``curves.mean_points`` gives.
        title: one line.
        paths: files to write.

    Raises:
        TrainingError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise TrainingError(f"no plot without matplotlib ({error}): pip install 'warpcall[training]'") from error
    metrics = [(name, label) for name, label in METRICS if any(name in point for point in points)]
    figure, axes_RM = pyplot.subplots(
        len(RATES), len(metrics), figsize=(4.4 * len(metrics), 7.6), sharey="col", squeeze=False
    )
    for row, (rate, rate_label) in enumerate(RATES):
        for column, (metric, label) in enumerate(metrics):
            _panel(axes_RM[row][column], points, rate, metric)
            axes_RM[row][column].set(xlabel=rate_label, title=label if row == 0 else "")
    handles, labels = axes_RM[0][0].get_legend_handles_labels()
    figure.suptitle(title)
    figure.legend(handles, labels, loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 0.98))
    try:
        for path in paths:
            figure.savefig(path, dpi=120)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)


def _panel(axes: Any, points: list[Point], rate: str, metric: str) -> None:
    for (name, setting), colour in zip(coders(points), COLOURS * 4, strict=False):
        theirs = [point for point in points if (point["coder"], point["setting"]) == (name, setting)]
        best = curve(theirs, rate, metric)
        line = {"realtime": "-", "offline": ":"}[setting]
        label = name if setting == "realtime" else f"{name}, {setting}"
        axes.plot([bits / 1000 for bits, _ in best], [value for _, value in best], line, color=colour, label=label)
        measured = [point for point in theirs if metric in point]
        axes.scatter([p[rate] / 1000 for p in measured], [p[metric] for p in measured], s=6, color=colour, alpha=0.4)
    for point in points:
        if point["coder"] == OURS and metric in point:
            _mark(axes, point[rate] / 1000, point[metric], point["references"])
    frozen = [point for point in points if point["coder"] == FROZEN and metric in point]
    if frozen:
        most = max(frozen, key=lambda point: int(point["references"]))
        label = f"frozen, {most['references']} references"
        axes.axhline(most[metric], color="black", linestyle="--", linewidth=0.8, label=label)
    axes.set_xscale("log")
    axes.set_xticks(TICKS_KBIT, [str(tick) for tick in TICKS_KBIT])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def _mark(axes: Any, kbit_per_s: float, value: float, references: int) -> None:
    axes.plot([kbit_per_s], [value], "*", color=OUR_COLOUR, markersize=11, label=OURS if references == 1 else "_")
    axes.annotate(str(references), (kbit_per_s, value), textcoords="offset points", xytext=(7, 3), color=OUR_COLOUR)
