"""Plot what ``benchmarks.bandwidth_steps`` wrote: ``python -m benchmarks.plot_steps FILE.json FILE.png``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {"keypoints": "tab:blue", "video": "tab:orange", "hold": "tab:red"}
RATE_S = 1.0


def plot(source: Path, target: Path) -> None:
    """Draw link, estimate and rate; mode and gaps between pictures; latency."""
    data = json.loads(source.read_text())
    samples, shown = data["samples"], data["shown"]
    samples = [each for each in samples if each["time_s"] >= 0]
    times = np.array([each["time_s"] for each in samples])
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(11, 9), sharex=True, layout="constrained")
    _rates(top, samples, times)
    _gaps(middle, shown)
    _latencies(bottom, shown)
    for axis in (top, middle, bottom):
        _modes(axis, samples, times)
        axis.grid(alpha=0.3)
        for step in data["step_times_s"]:
            axis.axvline(step, color="black", linewidth=0.8, linestyle=":")
    bottom.set_xlabel("seconds of the call")
    links = " - ".join(f"{kbps:g}" for kbps in data["settings"]["kbps"])
    top.set_title(f"One call, the link stepping {links} kbit/s (background: blue keypoints, orange video, red held)")
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _rates(axis: Any, samples: list[dict[str, Any]], times: Any) -> None:
    passed = np.array([each["passed_bytes"] for each in samples], dtype=float)
    earlier = np.searchsorted(times, times - RATE_S)
    rate = 8e-3 * (passed - passed[earlier]) / np.maximum(times - times[earlier], 0.1)
    axis.step(times, [each["link_kbps"] for each in samples], color="black", label="link", where="post")
    axis.plot(times, [each["estimate_kbps"] for each in samples], color="tab:green", label="estimate (REMB)")
    axis.plot(times, rate, color="tab:purple", linewidth=1, label="through the link, all packets")
    axis.set_yscale("log")
    axis.set_ylabel("kbit/s")
    axis.legend(loc="lower right")


def _gaps(axis: Any, shown: list[dict[str, Any]]) -> None:
    times = np.array([each["time_s"] for each in shown])
    axis.plot(times[1:], np.diff(times), ".", markersize=3, color="black")
    axis.axhline(1.0, color="tab:red", linewidth=1)
    axis.set_yscale("log")
    axis.set_ylabel("seconds since the picture before")


def _latencies(axis: Any, shown: list[dict[str, Any]]) -> None:
    for kind, colour in COLOURS.items():
        points = [(each["time_s"], each["latency_ms"]) for each in shown if each["kind"] == kind and each["latency_ms"]]
        if points:
            axis.plot(*zip(*points, strict=True), ".", markersize=3, color=colour, label=kind)
    axis.set_yscale("log")
    axis.set_ylabel("ms from capture to picture")
    axis.legend(loc="upper right")


def _modes(axis: Any, samples: list[dict[str, Any]], times: Any) -> None:
    start = 0
    for index in range(1, len(samples) + 1):
        if index == len(samples) or samples[index]["mode"] != samples[start]["mode"]:
            end = times[min(index, len(times) - 1)]
            axis.axvspan(times[start], end, color=COLOURS[samples[start]["mode"]], alpha=0.08, linewidth=0)
            start = index


if __name__ == "__main__":
    plot(Path(sys.argv[1]), Path(sys.argv[2]))
