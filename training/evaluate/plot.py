"""Evaluation ``rd``, drawn: quality over bitrate, payload and wire, as PNG and SVG. Reads the JSON's values alone.

mean points -> rd.svg, rd.png (the metrics of the claim);  rd-more.svg, rd-more.png (all others)
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec.errors import OutputError, TrainingError
from training.evaluate.curves import HELD, coders, curve, metrics_of, of_coder
from training.evaluate.labels import better_sign, in_order, label_of
from training.evaluate.rate_distortion import FROZEN, OURS, Point

FIRST_METRICS = ("lpips_alex", "dists", "akd", "mouth_lpips", "psnr_db")
# Of note where it is not nothing, and then in the tables.
UNDRAWN = ("faceless",)
MAX_COLUMNS = 4
RATES = (("payload_bits_per_s", "payload, kbit/s"), (HELD, "wire (with headers), kbit/s"))
COLOURS = ("#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e08a00", "#17a2b8")
OUR_COLOUR = "#d62728"
STYLES = {"realtime": "-", "offline": (0, (4, 2))}
# How our bits are counted: payload or wire with the references held; sent, over a call of 300 s and of 10 s.
OUR_MARKS = (
    ("wire_bits_per_s_over_10_s", "s", "references sent, over 10 s"),
    ("wire_bits_per_s_over_300_s", "^", "references sent, over 5 min"),
)
TICKS_KBIT = (2, 5, 10, 20, 30, 50, 100, 200)
PANEL_INCHES = (4.2, 3.5)
# An axis ends at so many times our worst or the frozen picture's figure: beyond it no picture is of use.
MOST_OF_OURS = 4.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        metric: upwards.
        rate: key of the points to the right.
        rate_label: its name.
    """

    metric: str
    rate: str
    rate_label: str


def draw_curves(points: list[Point], title: str, folder: Path) -> list[str]:
    """Draw all metrics that the points have and return the SVG files' names.

    Args:
        points: what ``curves.mean_points`` gives.
        title: one line.
        folder: for ``rd`` and ``rd-more``, as SVG and PNG.

    Raises:
        TrainingError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    metrics = in_order(metrics_of(points))
    first = [metric for metric in FIRST_METRICS if metric in metrics][:MAX_COLUMNS]
    others = [metric for metric in metrics if metric not in (*first, *UNDRAWN)]
    figures = {"rd": [Panel(metric, rate, label) for rate, label in RATES for metric in first]}
    if others:
        figures["rd-more"] = [Panel(metric, *RATES[1]) for metric in others]
    for name, panels in figures.items():
        columns = len(first) if name == "rd" else min(MAX_COLUMNS, len(panels))
        draw(points, title, panels, columns, [folder / f"{name}.svg", folder / f"{name}.png"])
    return [f"{name}.svg" for name in figures]


def draw(points: list[Point], title: str, panels: Sequence[Panel], columns: int, paths: list[Path]) -> None:
    """Draw panels row by row and write the figure to each path, in the format that its suffix names.

    Raises:
        TrainingError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise TrainingError(f"no plot without matplotlib ({error}): pip install 'warpcall[evaluate]'") from error
    rows = -(-len(panels) // columns)
    width, height = PANEL_INCHES
    figure, axes_RC = pyplot.subplots(rows, columns, figsize=(width * columns, height * rows + 1.1), squeeze=False)
    for axes, panel in zip(axes_RC.flat, panels, strict=False):
        _panel(axes, points, panel)
    for axes in list(axes_RC.flat)[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title)
    handles = _legend(pyplot, points)
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 1 + columns), frameon=False)
    figure.tight_layout(rect=(0, 0.9 / (height * rows + 1.1), 1, 0.99))
    try:
        for path in paths:
            figure.savefig(path, dpi=110)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)


def colours(points: list[Point]) -> dict[str, str]:
    """Return the colour of each peer."""
    names = dict.fromkeys(name for name, _ in coders(points))
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def _panel(axes: Any, points: list[Point], panel: Panel) -> None:
    metric, rate, label = panel.metric, panel.rate, label_of(panel.metric)
    colour_of = colours(points)
    for name, setting in coders(points):
        theirs = of_coder(points, name, setting)
        best = curve(theirs, rate, metric)
        colour = colour_of[name]
        x, y = [bits / 1000 for bits, _ in best], [value for _, value in best]
        axes.plot(x, y, linestyle=STYLES[setting], color=colour, linewidth=1.6 if setting == "realtime" else 1.0)
        measured = [point for point in theirs if metric in point]
        axes.scatter([p[rate] / 1000 for p in measured], [p[metric] for p in measured], s=5, color=colour, alpha=0.35)
    ours = [point for point in of_coder(points, OURS) if metric in point]
    for point in ours:
        _mark(axes, point, rate, metric)
    frozen = [point for point in of_coder(points, FROZEN) if metric in point]
    if frozen:
        most = max(frozen, key=lambda point: int(point["references"]))
        axes.axhline(most[metric], color="black", linestyle=":", linewidth=1.1)
    direction = "higher" if better_sign(metric) < 0 else "lower"
    axes.set(xlabel=panel.rate_label, title=f"{label.long} ({direction} is better)")
    axes.title.set_fontsize(10)
    axes.set_xscale("log")
    axes.set_xticks(TICKS_KBIT, [str(tick) for tick in TICKS_KBIT])
    axes.minorticks_off()
    drawn = [float(point[rate]) / 1000 for point in points if point[rate] > 0]
    axes.set_xlim(min([*drawn, TICKS_KBIT[-1]]) / 1.4, max([*drawn, TICKS_KBIT[-1] / 2]) * 1.2)
    axes.grid(alpha=0.3)
    if better_sign(metric) > 0:
        _limit(axes, [float(point[metric]) for point in (*ours, *frozen)])


def _limit(axes: Any, ours: list[float]) -> None:
    """Leave out what is far worse than ours."""
    top = axes.get_ylim()[1]
    if ours:
        top = min(top, MOST_OF_OURS * max(ours)) or top
    axes.set_ylim(0, top)


def _mark(axes: Any, point: Point, rate: str, metric: str) -> None:
    """Draw our point; on the wire also with the references' bits, joined by a line."""
    value = point[metric]
    if rate == HELD:
        counted = [(point[name] / 1000, mark) for name, mark, _ in OUR_MARKS if name in point]
        x = [point[rate] / 1000, *(kbit for kbit, _ in counted)]
        axes.plot(x, [value] * len(x), "-", color=OUR_COLOUR, linewidth=0.7)
        for kbit, mark in counted:
            axes.plot([kbit], [value], mark, color=OUR_COLOUR, markerfacecolor="white", markersize=5)
    axes.plot([point[rate] / 1000], [value], "*", color=OUR_COLOUR, markersize=11)
    number = str(point["references"])
    axes.annotate(
        number, (point[rate] / 1000, value), textcoords="offset points", xytext=(-10, -3), color=OUR_COLOUR, fontsize=8
    )


def _legend(pyplot: Any, points: list[Point]) -> list[Any]:
    line: Any = pyplot.Line2D
    handles = [
        line([], [], color=OUR_COLOUR, marker="*", markersize=10, linestyle="", label=f"{OURS}, number of references")
    ]
    for name, mark, label in OUR_MARKS:
        if any(name in point for point in points):
            handles.append(
                line([], [], color=OUR_COLOUR, marker=mark, markerfacecolor="white", linestyle="", label=label)
            )
    if of_coder(points, FROZEN):
        handles.append(line([], [], color="black", linestyle=":", label="frozen picture, zero bits"))
    handles += [line([], [], color=colour, label=name) for name, colour in colours(points).items()]
    if any(setting == "offline" for _, setting in coders(points)):
        handles.append(line([], [], color="grey", linestyle=STYLES["offline"], label="dashed: best offline settings"))
    return handles
