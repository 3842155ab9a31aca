"""Evaluation ``rd``, the report: points of clips to a JSON document, tables and Markdown.

{clip: row} -> rate_document -> rd.json;  document -> rate_table, rate_markdown
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import av
from rich import box
from rich.table import Table

from training.evaluate.config import RateDistortionConfig
from training.evaluate.curves import HELD, mean_points, metrics_of, of_coder
from training.evaluate.headline import CLAIM_METRICS, COUNT_NAMES, bd_rates, comparisons, sentences
from training.evaluate.labels import in_order, label_of
from training.evaluate.rate_distortion import FROZEN, Point, RateDistortion
from training.evaluate.report import PROTOCOL, versions, weights

RATE_PROTOCOL = {
    "payload_bits_per_s": "all bytes that the encoder gives, the keyframe counted",
    "wire_bits_per_s": "payload and 68 bytes of headers a packet of at most 1,200 bytes; references held beforehand",
    "wire_bits_per_s_over_10_s": "ours, with the references sent at the start of a call of 10 s",
    "wire_bits_per_s_over_300_s": "ours, with the references sent at the start of a call of 300 s",
    "references": "evenly spaced from the first frame on, coded as a call sends them; scored for no coder",
    "frozen": "for each frame the coded reference nearest to it in mean squared error, repeated",
    "headline": "at our wire rate; a peer's best over its frame sizes, straight over the logarithm of the rate",
    "bd_rates": "ours against a peer over numbers of references, PCHIP, logarithm of the rate; negative: fewer bits",
    "means": "over frames, then over clips, one vote each",
}
HEADLINE_METRICS = ("lpips_alex", "lpips_vgg", "dists", "akd", "mouth_lpips", "psnr_db")
SETTING_NAMES = {"realtime": "real-time settings", "offline": "best offline settings"}


def rate_document(
    config: RateDistortionConfig,
    command: str,
    run: RateDistortion,
    results: dict[str, dict[str, Any] | str],
) -> dict[str, Any]:
    """Return the whole result of ``rd`` as JSON values.

    Args:
        config: settings of the run.
        command: that made it.
        run: model, metrics and peers.
        results: row, or the reason why there is none, by clip.
    """
    rows = [row for _, row in sorted(results.items()) if not isinstance(row, str)]
    points = mean_points((row["points"] for row in rows), run.features)
    model = run.model
    compared = comparisons(points)
    return {
        "format": "warpcall rd 2",
        "command": command,
        "model": {"config": model.config.name, "image_size": model.config.image_size, "sha256": model.sha256},
        **weights(run.bench.sources),
        "versions": {"python": platform.python_version(), **versions(), "ffmpeg of av": av.ffmpeg_version_info},
        "peers": {"ffmpeg": run.ffmpeg.version(), **_encoders(points)},
        "settings": {
            "references": list(config.references),
            "peers": list(config.peers),
            "rates_kbit_per_s": list(config.rates),
            "scales": list(config.scales),
            "seconds": config.seconds,
            "match": config.match,
            "limit": config.limit,
            "every": config.every,
            "offline": config.offline,
            "metrics": list(config.metrics),
            "slow_every": config.slow_every,
            "device": str(model.device),
        },
        "protocol": {**RATE_PROTOCOL, **{name: PROTOCOL[name] for name in metrics_of(points) if name in PROTOCOL}},
        "headline": list(sentences(points, compared)),
        "comparisons": compared,
        "bd_rates": bd_rates(points),
        "points": points,
        "failures": _failures(row["points"] for row in rows),
        "clips": {clip: {"reason": row} if isinstance(row, str) else row for clip, row in sorted(results.items())},
        "skipped": {clip: row for clip, row in sorted(results.items()) if isinstance(row, str)},
    }


def _encoders(points: Iterable[Point]) -> dict[str, str]:
    return {point["coder"]: point["encoder"] for point in points if "encoder" in point}


def _failures(points_of_clips: Iterable[list[Point]]) -> dict[str, int]:
    """Return how many points each reason cost."""
    return dict(Counter(point["reason"] for points in points_of_clips for point in points if "reason" in point))


def rate_table(points: list[Point]) -> Table:
    """Return mean points as a table for a screen: rd.md has all metrics."""
    metrics = [metric for metric in HEADLINE_METRICS if metric in metrics_of(points)]
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in point_headings(metrics):
        drawn.add_column(heading, justify="left" if heading == "coder" else "right", no_wrap=True)
    last = None
    for point in points:
        if last not in (None, (point["coder"], point["setting"])):
            drawn.add_section()
        last = point["coder"], point["setting"]
        drawn.add_row(point_name(point), *point_cells(point, metrics))
    return drawn


def rate_markdown(result: dict[str, Any]) -> str:
    """Return headline, BD-rates and points of ``rd`` as Markdown."""
    points = result["points"]
    metrics = in_order(metrics_of(points))
    lines = ["# Bitrate against quality", "", f"`{result['command']}`", ""]
    for sentence in result["headline"]:
        lines += [sentence, ""]
    for clip, reason in result["skipped"].items():
        lines += [f"{clip} was not measured: it {reason}.", ""]
    for reason, number in result["failures"].items():
        lines += [f"{number} point(s) are missing: {reason}.", ""]
    for count, name in COUNT_NAMES.items():
        lines += [f"## At our wire rate, {name}", "", *markdown_table(*headline_table(result, count)), ""]
    lines += ["## BD-rate: our bits for the same quality", "", *markdown_table(*bd_table(result)), ""]
    cells = ([point_name(point), *point_cells(point, metrics)] for point in points)
    lines += ["## Points", "", *markdown_table(point_headings(metrics), cells), ""]
    return "\n".join([*lines, "## Commands", "", *_commands(points)]) + "\n"


def _commands(points: Iterable[Point]) -> list[str]:
    """Return one command of each peer and setting; rd.json holds that of every point."""
    first: dict[tuple[str, str], str] = {}
    for point in points:
        if "command" in point:
            first.setdefault((point["coder"], point["setting"]), f"{point['encoder']}: `{point['command']}`")
    return [f"- {name} in {SETTING_NAMES[setting]}, {text}" for (name, setting), text in first.items()]


def headline_table(result: dict[str, Any], count: str = HELD) -> tuple[list[str], list[list[str]]]:
    """Return the comparison at our wire rate with the most references, as head and rows of cells.

    Each row is a peer in one setting, with the lowest wire rate that it makes. Each metric has two columns: what the
    peer has at our rate, and the wire rate from which on it is as good as ours.
    """
    rows = [row for row in result["comparisons"] if row["count"] == count]
    most = max((row["references"] for row in rows), default=0)
    rows = [row for row in rows if row["references"] == most]
    metrics = [name for name in HEADLINE_METRICS if any(row["metric"] == name for row in rows)]
    head = ["coder", "kbit/s"]
    ours = [f"**Warpcall, {most} reference(s)**", f"**{rows[0]['our_bits_per_s'] / 1000:.1f}**" if rows else "-"]
    for metric in metrics:
        label = label_of(metric)
        head += [label.short, "as good from"]
        ours += [f"**{next(row['ours'] for row in rows if row['metric'] == metric):.{label.digits}f}**", ""]
    cells = [ours, _frozen_cells(result, most, count, metrics)]
    for peer, setting in dict.fromkeys((row["peer"], row["setting"]) for row in rows):
        of_peer = {row["metric"]: row for row in rows if (row["peer"], row["setting"]) == (peer, setting)}
        lowest = min(float(point[HELD]) for point in of_coder(result["points"], peer, setting))
        line = [f"{peer}, {setting}", f"from {lowest / 1000:.1f}"]
        for metric in metrics:
            line += headline_cells(of_peer[metric])
        cells.append(line)
    return head, cells


def _frozen_cells(result: dict[str, Any], references: int, count: str, metrics: Sequence[str]) -> list[str]:
    frozen: Point = next(
        (point for point in result["points"] if (point["coder"], point.get("references")) == (FROZEN, references)), {}
    )
    cells = ["frozen picture", f"{frozen.get(count, 0) / 1000:.1f}"]
    for metric in metrics:
        cells += [_figure(frozen, metric), ""]
    return cells


def headline_cells(row: dict[str, Any]) -> list[str]:
    """Return what a peer has at our rate, and from where on it is as good as ours."""
    there, passes = row["peer_at_our_rate"], row["peer_passes_at_bits_per_s"]
    return [
        "-" if there is None else f"{there:.{label_of(row['metric']).digits}f}",
        "never" if passes is None else f"{passes / 1000:.1f}",
    ]


def bd_table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the BD-rates of the claim's metrics, as head and rows of cells."""
    rows = [row for row in result["bd_rates"] if row["metric"] in CLAIM_METRICS]
    columns = list(dict.fromkeys((row["metric"], row["count"]) for row in rows))
    head = ["peer", *(f"{label_of(metric).short}, {COUNT_NAMES[count]}" for metric, count in columns)]
    cells = []
    for peer, setting in dict.fromkeys((row["peer"], row["setting"]) for row in rows):
        line = [f"{peer}, {setting}"]
        for column in columns:
            row = next(
                row
                for row in rows
                if (row["peer"], row["setting"], row["metric"], row["count"]) == (peer, setting, *column)
            )
            percent = row["bd_rate_percent"]
            line.append(row["reason"] if percent is None else f"{percent:+.0f}%")
        cells.append(line)
    return head, cells


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines."""
    return [_markdown_row(head), _markdown_row(["---"] * len(head)), *(_markdown_row(row) for row in rows)]


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def point_headings(metrics: Sequence[str]) -> list[str]:
    """Return the head of a table of points."""
    return ["coder", "payload kbit/s", "wire kbit/s", *(label_of(metric).short for metric in metrics)]


def point_name(point: Point) -> str:
    """Return who made a point, for tables."""
    if "references" in point:
        return f"{point['coder']}, {point['references']} reference(s)"
    return f"{point['coder']} {point['setting']}, {point['size']} px, {point['target']}"


def point_cells(point: Point, metrics: Sequence[str]) -> list[str]:
    """Return the figures of a point, for tables."""
    rates = [f"{point[name] / 1000:.1f}" for name in ("payload_bits_per_s", HELD)]
    return rates + [_figure(point, metric) for metric in metrics]


def _figure(point: Point, metric: str) -> str:
    return f"{point[metric]:.{label_of(metric).digits}f}" if metric in point else "-"
