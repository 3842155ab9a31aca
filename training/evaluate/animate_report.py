"""Evaluation ``animate``, the report: rows of clips to means, a JSON document and a table."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from training.evaluate.animate import Animation
from training.evaluate.cache import FEATURES
from training.evaluate.pool import Row
from training.evaluate.report import versions, weights

FIGURES = ("akd_relative", "still_akd_relative", "faceless", "identity_similarity", "driver_identity_similarity")
PROTOCOL = {
    "motion": "keypoints of the first reference plus the driver's motion since its frame most like it, times the ratio "
    "of sizes",
    "akd_relative": "mean distance of MTCNN's landmarks from the first reference's moved as the driver's, pixels",
    "still_akd_relative": "the same for the first reference, repeated: how far the driver moves",
    "faceless": "share of animated pictures in which MTCNN finds no face",
    "identity_similarity": "cosine of dlib's embedding with that of the reference most like it, mean over pictures",
    "driver_identity_similarity": "the same with the driver's frames",
    "fid": "animated pictures against as many real ones of the animated people, all clips together",
    "means": "over frames, then over clips, one vote each",
}
COLUMNS = (
    ("AKD px", "akd_relative", 2),
    ("still", "still_akd_relative", 2),
    ("identity", "identity_similarity", 3),
    ("driver's", "driver_identity_similarity", 3),
    ("FID", "fid", 1),
    ("faceless", "faceless", 3),
)


def animate_document(animation: Animation, command: str, results: dict[str, Row | str]) -> dict[str, Any]:
    """Return the whole result as JSON values.

    Raises:
        TrainingError: features for FID cannot be read.
    """
    config, model = animation.config, animation.model
    rows = [row for row in results.values() if not isinstance(row, str)]
    return {
        "format": "warpcall animate 1",
        "command": command,
        "model": {"config": model.config.name, "image_size": model.config.image_size, "sha256": model.sha256},
        **weights(animation.bench.sources),
        "versions": {"python": platform.python_version(), **versions()},
        "settings": {
            "references": list(config.references),
            "identity": config.identity,
            "limit": config.limit,
            "frames": config.frames,
            "every": config.every,
        },
        "protocol": PROTOCOL,
        "overall": {str(count): _mean(animation, rows, str(count)) for count in config.references} if rows else {},
        "clips": {clip: {"reason": row} if isinstance(row, str) else row for clip, row in sorted(results.items())},
        "skipped": {clip: row for clip, row in sorted(results.items()) if isinstance(row, str)},
    }


def _mean(animation: Animation, rows: list[Row], count: str) -> dict[str, Any]:
    mean: dict[str, Any] = {"num_clips": len(rows)}
    for name in FIGURES:
        values = [row[count][name] for row in rows if row[count].get(name) is not None]
        mean[name] = float(np.mean(values)) if values else None
    files = [row[count][FEATURES] for row in rows if FEATURES in row[count]]
    mean["fid"] = animation.features.fid(files) if files else None
    return mean


def animate_table(result: dict[str, Any]) -> Table:
    """Return the means as a table."""
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("refs", "clips", *(heading for heading, _, _ in COLUMNS)):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for count, mean in result["overall"].items():
        cells = ["-" if mean[name] is None else f"{mean[name]:.{digits}f}" for _, name, digits in COLUMNS]
        drawn.add_row(count, str(mean["num_clips"]), *cells)
    return drawn
