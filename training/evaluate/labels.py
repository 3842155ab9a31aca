"""Evaluation, the metrics by name: what tables and curves call them, and which way is better.

A metric that is not listed is shown under its own name, lower is better.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from training.evaluate.tally import HIGHER_IS_BETTER


@dataclass(frozen=True, slots=True)
class Label:
    """How a metric is shown.

    Attributes:
        short: for the head of a column.
        long: for an axis, with its unit.
        digits: after the point.
    """

    short: str
    long: str
    digits: int = 3


LABELS = {
    "lpips_alex": Label("LPIPS", "LPIPS-Alex"),
    "lpips_vgg": Label("LPIPS-VGG", "LPIPS-VGG"),
    "dists": Label("DISTS", "DISTS"),
    "psnr_db": Label("PSNR dB", "PSNR, dB", 1),
    "ssim": Label("SSIM", "SSIM", 3),
    "vmaf": Label("VMAF", "VMAF", 1),
    "akd": Label("AKD px", "AKD, pixels", 2),
    "mouth_lpips": Label("mouth", "LPIPS-Alex of the mouth"),
    "eyes_lpips": Label("eyes", "LPIPS-Alex of the eyes"),
    "mouth_psnr_db": Label("mouth dB", "PSNR of the mouth, dB", 1),
    "eyes_psnr_db": Label("eyes dB", "PSNR of the eyes, dB", 1),
    "identity_similarity": Label("identity", "identity similarity"),
    "fid": Label("FID", "FID", 1),
    "temporal_error": Label("temporal", "temporal error, 0 to 255", 2),
    "flicker": Label("flicker", "flicker, 0 to 255", 2),
    "l1": Label("L1", "L1, 0 to 255", 2),
    "body_akd_01": Label("body AKD .1", "AKD of the body at 0.1, pixels", 2),
    "body_mkr_01": Label("body MKR .1", "missing keypoints of the body at 0.1"),
    "body_akd_05": Label("body AKD .5", "AKD of the body at 0.5, pixels", 2),
    "body_mkr_05": Label("body MKR .5", "missing keypoints of the body at 0.5"),
    "faceless": Label("no face", "share of frames without a face", 2),
}


def label_of(metric: str) -> Label:
    """Return how a metric is shown."""
    return LABELS.get(metric, Label(metric, metric))


def better_sign(metric: str) -> float:
    """Return the factor that makes lower better: -1 where higher is better."""
    return -1.0 if metric in HIGHER_IS_BETTER else 1.0


def in_order(metrics: Iterable[str]) -> list[str]:
    """Return metrics in the order of the table above, those that it lacks last."""
    names = list(LABELS)
    return sorted(metrics, key=lambda metric: (names.index(metric) if metric in LABELS else len(names), metric))
