"""Evaluation, metrics: those that are asked for, with their weights.

    names, folder of weights -> open_bench -> Bench

PSNR, L1, LPIPS-Alex, the temporal error, flicker and (with landmarks) AKD and the regions are always measured.
"""

from __future__ import annotations

from pathlib import Path

import torch

from codec.errors import ConfigError
from training.evaluate.measure import Bench
from training.evaluate.metrics.body import OpenPose
from training.evaluate.metrics.dists import load_dists
from training.evaluate.metrics.fid import load_inception
from training.evaluate.metrics.identity import Identity
from training.evaluate.metrics.landmarks import MtcnnLandmarks
from training.evaluate.metrics.lpips import VGG, load_lpips
from training.evaluate.metrics.vmaf import Vmaf
from training.evaluate.picture_metrics import (
    BodyErrors,
    DeepDistance,
    IdentitySimilarity,
    InceptionFeatures,
    PictureMetric,
)

CHOICES = ("ssim", "lpips_vgg", "dists", "identity", "fid", "body", "vmaf")


def check_metrics(names: tuple[str, ...], landmarks: bool) -> None:
    """Check names of metrics.

    Raises:
        ConfigError: there is no such metric, or it lacks what it needs.
    """
    for name in names:
        if name not in CHOICES:
            raise ConfigError(f"metrics has {name!r}; there are {', '.join(CHOICES)}, all and none")
    if "identity" in names and not landmarks:
        raise ConfigError("metrics has identity, which needs landmarks")


def open_bench(
    names: tuple[str, ...], slow_every: int, folder: Path | None, landmarks: bool, size: int, device: torch.device
) -> Bench:
    """Load metrics.

    Args:
        names: of ``CHOICES``.
        slow_every: slow metrics look at one scored frame out of this many.
        folder: of weights; None takes those of the libraries.
        landmarks: find faces.
        size: height and width of pictures, pixels.
        device: to run on.

    Raises:
        TrainingError: a metric's weights or its library are not to be had.
    """
    slow: list[PictureMetric] = []
    if "lpips_vgg" in names:
        slow.append(DeepDistance("lpips_vgg", load_lpips(folder, device, VGG)))
    if "dists" in names:
        slow.append(DeepDistance("dists", load_dists(folder, device)))
    if "identity" in names:
        slow.append(IdentitySimilarity(Identity()))
    if "fid" in names:
        slow.append(InceptionFeatures(load_inception(folder, device)))
    if "body" in names:
        slow.append(BodyErrors(OpenPose(folder)))
    # MTCNN lacks operations on Apple's GPUs.
    detector = MtcnnLandmarks(size, device if device.type == "cuda" else torch.device("cpu")) if landmarks else None
    vmaf = Vmaf() if "vmaf" in names else None
    return Bench(load_lpips(folder, device), detector, slow, slow_every, vmaf, "ssim" in names)
