"""Evaluation ``readme``: what a README says of the results, made from their files and from nothing else.

    RESULTS/reconstruct.json, RESULTS/rd/rd.json -> Markdown;  RESULTS/ship/rd.json -> strip of pictures

The Markdown stands between two comment lines, which mark where the next run puts it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from codec.errors import OutputError, TrainingError
from training.evaluate.cache import write_text
from training.evaluate.config import ReadmeConfig
from training.evaluate.labels import label_of
from training.evaluate.rate_report import headline_table, markdown_table

BEGIN = "<!-- results: made by python -m training.evaluate readme -->"
END = "<!-- /results -->"
RECONSTRUCT, RATES, SHIP = "reconstruct.json", "rd/rd.json", "ship/rd.json"
# Group of the result: what a reader calls it. Groups that a result lacks are left out.
GROUPS = {
    "rest_moving": "moving",
    "rest": "all but news readers",
    "news": "news readers",
    "overall": "all",
}
METRICS = ("psnr_db", "lpips_alex", "dists", "akd", "mouth_lpips", "eyes_lpips", "temporal_error")


def read_result(path: Path) -> dict[str, Any]:
    """Read a result.

    Raises:
        TrainingError: it is not there or no result.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TrainingError(f"{path} is no JSON: {error}") from error
    if not isinstance(result, dict) or not str(result.get("format", "")).startswith("warpcall"):
        raise TrainingError(f"{path} is no result of training.evaluate")
    return result


def markdown(results: Path) -> str:
    """Return what the README says of the results, between its two comment lines.

    Raises:
        TrainingError: a result is not there or no result.
    """
    rates, reconstruct = read_result(results / RATES), read_result(results / RECONSTRUCT)
    lines = [BEGIN, "", *_rates(rates), *_reconstruct(reconstruct), END]
    return "\n".join(lines) + "\n"


def _rates(result: dict[str, Any]) -> Iterator[str]:
    measured = sum("reason" not in row for row in result["clips"].values())
    size, seconds = result["model"]["image_size"], result["settings"]["seconds"]
    yield f"**Bitrate against quality**, {measured} test clip(s), the first {seconds:g} s of each, {size}x{size}:"
    yield ""
    for sentence in result["headline"]:
        yield f"- {sentence}"
    yield ""
    yield "Of each codec: the lowest wire rate that it makes, and then twice what it has at our wire rate, and from"
    yield "which wire rate on, in kbit/s, it is as good as ours."
    yield ""
    yield from markdown_table(*headline_table(result))
    yield ""
    yield f"Made by `{result['command']}`."
    yield ""


def _reconstruct(result: dict[str, Any]) -> Iterator[str]:
    groups = {**{"overall": result["overall"]}, **result.get("groups", {})}
    shown = {name: groups[name] for name in GROUPS if groups.get(name)}
    if len(shown) > 1:
        shown.pop("overall", None)
    metrics = [
        name for name in METRICS if any(row.get(name) is not None for rows in shown.values() for row in rows.values())
    ]
    yield "**The picture** (in parentheses: the nearest reference repeated, at zero bits):"
    yield ""
    cells = [
        [f"{GROUPS[name]} ({row['num_clips']})", count, *(_pair(row, metric) for metric in metrics)]
        for name, rows in shown.items()
        for count, row in rows.items()
    ]
    yield from markdown_table(["clips", "references", *(label_of(metric).short for metric in metrics)], cells)
    yield ""
    yield f"Made by `{result['command']}`."
    yield ""


def _pair(row: dict[str, Any], metric: str) -> str:
    digits = label_of(metric).digits
    values = [row.get(metric), row.get(f"frozen_{metric}")]
    ours, frozen = ("-" if value is None else f"{value:.{digits}f}" for value in values)
    return f"{ours} ({frozen})"


def put_into(text: str, path: Path) -> None:
    """Replace what stands between the two comment lines of a file.

    Raises:
        TrainingError: the file cannot be read or lacks the lines.
        OutputError: it cannot be written.
    """
    try:
        whole = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise TrainingError(f"{path} lacks the lines {BEGIN} and {END}")
    write_text(path, before + text.rstrip("\n") + after)


def copy_strip(results: Path, path: Path) -> None:
    """Copy the strip of the first clip that is shown among those that may be shipped.

    Raises:
        TrainingError: no clip is shown.
        OutputError: it cannot be written.
    """
    rows = read_result(results / SHIP)["clips"].values()
    videos = [row["showcase"]["video"] for row in rows if "showcase" in row]
    if not videos:
        raise TrainingError(f"{results / SHIP} shows no clip; measure it with --videos 1")
    strip = (results / SHIP).parent / Path(unquote(videos[0])).with_suffix(".png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(strip, path)
    except OSError as error:
        raise OutputError(f"{strip} cannot be copied to {path}: {error.strerror}") from error


def write_readme(config: ReadmeConfig) -> str:
    """Return the Markdown, and put it and the strip where they are asked for.

    Raises:
        TrainingError: a result or its place is not there.
        OutputError: a file cannot be written.
    """
    text = markdown(config.results)
    if config.into is not None:
        put_into(text, config.into)
    if config.strip is not None:
        copy_strip(config.results, config.strip)
    return text
