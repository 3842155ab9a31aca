"""Evaluation, the report: rows of clips to means, a JSON document and a table.

    {clip: row} -> document -> JSON;  document -> table

Every clip has one vote in a mean, however long it is. Metrics that a clip lacks (AKD without a face) are left out of
the mean of that metric.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from training.evaluate.cache import FEATURES, FeatureStore
from training.evaluate.config import ReconstructConfig
from training.evaluate.metrics.weights import WeightsSource
from training.evaluate.reconstruct import Workbench
from training.evaluate.tally import SCORE_NAMES

FORMAT = "warpcall reconstruct 1"
PACKAGES = (
    "warpcall",
    "torch",
    "torchvision",
    "numpy",
    "av",
    "pillow",
    "facenet-pytorch",
    "lpips",
    "dists-pytorch",
    "torch-fidelity",
    "dlib-bin",
    "opencv-python-headless",
    "imageio-ffmpeg",
    "bjontegaard",
)
LPIPS_TOLERANCE = 0.01
MEANS = ("bits_per_frame", *SCORE_NAMES, *(f"frozen_{name}" for name in SCORE_NAMES))
PROTOCOL = {
    "references": "evenly spaced from the first frame on, not scored",
    "frozen": "for each frame the reference nearest to it in mean squared error, repeated",
    "psnr_db": "of each frame's mean squared error over RGB, averaged over frames",
    "l1": "mean absolute difference, 0 to 255",
    "lpips_alex": "LPIPS v0.1, AlexNet, whole picture",
    "akd": "mean distance of MTCNN's five landmarks from the source's, pixels",
    "mouth_lpips": "LPIPS-Alex of 1.2 x 0.9 face scales around the source's mouth, resampled to 128 x 96",
    "eyes_lpips": "LPIPS-Alex of 2.0 x 0.8 face scales around the source's eyes, resampled to 160 x 64",
    "mouth_psnr_db": "PSNR of the same region",
    "eyes_psnr_db": "PSNR of the same region",
    "temporal_error": "mean absolute difference of frame-to-frame changes from the source's, 0 to 255",
    "flicker": "the same over pixels of which no channel of the source changes by more than 2",
    "ssim": "11x11 Gaussian window of deviation 1.5, RGB, of each frame",
    "lpips_vgg": "LPIPS v0.1, VGG-16, whole picture",
    "dists": "DISTS, whole picture at its own size",
    "identity_similarity": "cosine of dlib's embedding of the largest face and of the source's",
    "fid": "of all scored frames of all clips against their sources, Inception-v3 of 2015-12-05, 2048 features",
    "body_akd_01": "mean distance of body keypoints that both have with confidence 0.1, pixels; 05: 0.5",
    "body_mkr_01": "share of the source's body keypoints that are missing, at confidence 0.1; 05: 0.5",
    "vmaf": "v0.6.1 on luma at the pictures' own size, mean over frames",
    "bits_per_frame": "payload, the keyframe counted",
    "moving": "clips whose first frame, repeated, is under 23 dB on all others",
    "means": "over frames, then over clips, one vote each",
}

Row = dict[str, Any]


def means(
    rows: Iterable[Row], counts: tuple[int, ...], features: FeatureStore | None = None
) -> dict[str, dict[str, Any]]:
    """Return the means over clips by number of references; empty when there is no clip.

    Args:
        rows: of the clips.
        counts: numbers of references.
        features: where the rows' features for FID are.

    Raises:
        TrainingError: features cannot be read.
    """
    rows = list(rows)
    return {str(count): _mean([row[str(count)] for row in rows], features) for count in counts} if rows else {}


def _mean(figures: list[Row], features: FeatureStore | None) -> dict[str, Any]:
    result: dict[str, Any] = {"num_clips": len(figures)}
    for name in MEANS:
        values = [figure[name] for figure in figures if figure[name] is not None]
        result[name] = float(np.mean(values)) if values else None
    result["num_lpips_worse"] = sum(
        figure["lpips_alex"] > figure["frozen_lpips_alex"] + LPIPS_TOLERANCE for figure in figures
    )
    for prefix in ("", "frozen_"):
        files = [figure[prefix + FEATURES] for figure in figures if prefix + FEATURES in figure]
        if features is not None and files:
            result[f"{prefix}fid"] = features.fid(files)
    return result


def grouped(
    rows: dict[str, Row], patterns: dict[str, str], counts: tuple[int, ...], features: FeatureStore | None = None
) -> dict[str, Any]:
    """Return the means of named groups of clips, of the rest, and of the moving clips of each."""
    members: dict[str, list[Row]] = {name: [] for name in (*patterns, "rest")}
    for clip, row in rows.items():
        name = next((name for name, pattern in patterns.items() if fnmatch(clip, pattern)), "rest")
        members[name].append(row)
    groups = {}
    for name, group in members.items():
        groups[name] = means(group, counts, features)
        groups[f"{name}_moving"] = means([row for row in group if row["moving"]], counts, features)
    return groups


def document(
    config: ReconstructConfig, command: str, workbench: Workbench, results: dict[str, Row | str]
) -> dict[str, Any]:
    """Return the whole result as JSON values.

    Args:
        config: settings of the run.
        command: that made it.
        workbench: model and metrics.
        results: row, or the reason why there is none, by clip.

    Raises:
        TrainingError: features for FID cannot be read.
    """
    model, features = workbench.model, workbench.features
    rows = {clip: row for clip, row in sorted(results.items()) if not isinstance(row, str)}
    result: dict[str, Any] = {
        "format": FORMAT,
        "command": command,
        "model": {"config": model.config.name, "image_size": model.config.image_size, "sha256": model.sha256},
        **weights(workbench.bench.sources),
        "versions": {"python": platform.python_version(), **versions()},
        "settings": {
            "references": list(config.references),
            "every": config.every,
            "limit": config.limit,
            "frames": config.frames,
            "landmarks": config.landmarks,
            "metrics": list(config.metrics),
            "slow_every": config.slow_every,
            "coded_references": config.coded_references,
            "device": str(model.device),
        },
        "protocol": PROTOCOL,
        "overall": means(rows.values(), config.references, features),
        "moving": means((row for row in rows.values() if row["moving"]), config.references, features),
        "still": means((row for row in rows.values() if not row["moving"]), config.references, features),
    }
    if config.groups:
        result["groups"] = grouped(rows, config.groups, config.references, features)
    result["clips"] = {clip: {"reason": row} if isinstance(row, str) else row for clip, row in sorted(results.items())}
    result["skipped"] = {clip: row for clip, row in sorted(results.items()) if isinstance(row, str)}
    return result


def weights(sources: dict[str, WeightsSource]) -> dict[str, Any]:
    """Return which weights each metric used, as JSON values."""
    named = {name: dataclasses.asdict(source) for name, source in sources.items()}
    return {"lpips_alex_weights": named["lpips_alex"], "metric_weights": named}


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


COLUMNS = (
    ("PSNR dB", "psnr_db", 1),
    ("LPIPS", "lpips_alex", 3),
    ("AKD px", "akd", 2),
    ("mouth", "mouth_lpips", 3),
    ("eyes", "eyes_lpips", 3),
    ("temporal", "temporal_error", 2),
)
FURTHER_COLUMNS = (
    ("SSIM", "ssim", 3),
    ("LPIPS-VGG", "lpips_vgg", 3),
    ("DISTS", "dists", 3),
    ("identity", "identity_similarity", 3),
    ("FID", "fid", 1),
    ("VMAF", "vmaf", 1),
    ("body AKD@.5", "body_akd_05", 2),
    ("MKR@.5", "body_mkr_05", 3),
)


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the means as tables, each with the frozen picture's beside it; the second has what was asked for."""
    overall = list(result["overall"].values())
    further = [column for column in FURTHER_COLUMNS if any(mean.get(column[1]) is not None for mean in overall)]
    drawn = [_table(result, COLUMNS)]
    return [*drawn, _table(result, further)] if further else drawn


def _table(result: dict[str, Any], columns: Sequence[tuple[str, str, int]]) -> Table:
    drawn = Table(title="received (frozen)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("clips", "refs", *(heading for heading, _, _ in columns), "bits"):
        drawn.add_column(heading, justify="left" if heading == "clips" else "right", no_wrap=True)
    named = {name: result[name] for name in ("overall", "moving", "still")}
    for name, group in {**named, **result.get("groups", {})}.items():
        for count, figures in group.items():
            cells = [_pair(figures, metric, digits) for _, metric, digits in columns]
            drawn.add_row(f"{name} ({figures['num_clips']})", count, *cells, f"{figures['bits_per_frame']:.0f}")
        if group:
            drawn.add_section()
    return drawn


def _pair(figures: dict[str, Any], name: str, digits: int) -> str:
    ours, frozen = figures.get(name), figures.get(f"frozen_{name}")
    if ours is None:
        return "-"
    return f"{ours:.{digits}f} ({'-' if frozen is None else format(frozen, f'.{digits}f')})"
