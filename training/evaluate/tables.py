"""Evaluation ``tables``: the paper's tables as Markdown, ours beside the published figures.

results of protocol -> markdown;  a figure that is not known is a dash
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from codec.errors import TrainingError
from training.evaluate.protocols import DATASETS
from training.evaluate.published import ABLATIONS, METHODS, PUBLISHED, Published

Result = dict[str, Any]
Column = tuple[str, str, int]

FORMAT = "warpcall reconstruct 1"
DASH = "-"
FACE_COLUMNS: tuple[Column, ...] = (
    ("PSNR dB ↑", "psnr_db", 2),
    ("L1 ↓", "l1", 2),
    ("LPIPS-Alex ↓", "lpips_alex", 3),
    ("AKD (MTCNN) ↓", "akd", 2),
    ("FID ↓", "fid", 1),
)
BODY_COLUMNS: tuple[Column, ...] = (
    *FACE_COLUMNS[:3],
    ("AKD@0.1 ↓", "body_akd_01", 2),
    ("MKR@0.1 ↓", "body_mkr_01", 3),
    ("AKD@0.5 ↓", "body_akd_05", 2),
    ("MKR@0.5 ↓", "body_mkr_05", 3),
    FACE_COLUMNS[4],
)


def load_result(path: Path) -> Result:
    """Read a result of ``protocol``.

    Raises:
        TrainingError: it cannot be read, or is another kind of file.
    """
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    if not isinstance(result, dict) or result.get("format") != FORMAT or result.get("dataset") not in DATASETS:
        raise TrainingError(f"{path} is no result of python -m training.evaluate protocol")
    return result


def markdown(results: Sequence[Result]) -> str:
    """Return all tables."""
    parts = []
    for name, dataset in DATASETS.items():
        columns = BODY_COLUMNS if "body" in dataset.metrics else FACE_COLUMNS
        ours = [result for result in results if result["dataset"] == name]
        lines = [published for published in PUBLISHED if published.dataset == name]
        parts += [f"## {dataset.title}, {dataset.size}x{dataset.size}", ""]
        parts += _table(columns, (*_published_rows(dataset.references, lines, columns), *_our_rows(ours, columns)))
        parts += ["", *_notes(ours, dataset.size, dataset.num_clips, lines), ""]
    rows = [(line.method, "1", *(_with_deviation(line, name) for _, name, _ in FACE_COLUMNS)) for line in ABLATIONS]
    parts += ["## Ablations on TalkingHead-1KH, 256x256 (three trainings each)", "", *_table(FACE_COLUMNS, rows)]
    return "\n".join([*parts, "", f"Published figures: {ABLATIONS[0].source}.", ""])


def _table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> list[str]:
    headings = ("method", "sources", *(heading for heading, _, _ in columns))
    rule = ("---", *["---:"] * (len(headings) - 1))
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]


def _published_rows(
    counts: Sequence[int], lines: Sequence[Published], columns: Sequence[Column]
) -> Iterator[tuple[str, ...]]:
    known = {(line.method, line.references): line.figures for line in lines}
    for method in METHODS:
        for count in counts:
            figures = known.get((method, count), {})
            yield method, str(count), *(figures.get(name, DASH) for _, name, _ in columns)


def _our_rows(results: Sequence[Result], columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    for result in results:
        model = result["model"]
        name = f"Warpcall {model['config']}, {model['image_size']}x{model['image_size']}"
        for prefix, who in (("", name), ("frozen_", "frozen picture")):
            for count, figures in result["overall"].items():
                yield who, count, *_cells(figures, prefix, columns)


def _cells(figures: dict[str, Any], prefix: str, columns: Sequence[Column]) -> list[str]:
    values = ((figures.get(prefix + name), digits) for _, name, digits in columns)
    return [DASH if value is None else f"{value:.{digits}f}" for value, digits in values]


def _with_deviation(line: Published, name: str) -> str:
    return f"{line.figures[name]} ± {line.deviations[name]}"


def _notes(results: Sequence[Result], size: int, num_clips: int, lines: Sequence[Published]) -> Iterator[str]:
    sources = ", ".join(dict.fromkeys(line.source for line in lines))
    yield f"Published figures: {sources}, on {num_clips} test videos. A dash: not published or not at hand."
    for result in results:
        clips = next(iter(result["overall"].values()))["num_clips"]
        yield f"Ours: {clips} clip(s), `{result['command']}`."
        if result["model"]["image_size"] != size:
            ours = result["model"]["image_size"]
            yield f"Ours is measured at {ours}x{ours}: figures at {size}x{size} are no like-for-like comparison."
