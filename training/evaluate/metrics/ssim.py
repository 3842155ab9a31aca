"""Structural similarity (Wang et al. 2004): 11x11 Gaussian window of deviation 1.5, K1 = 0.01, K2 = 0.03, on RGB.

Shape legend: N frames, H height, W width, 3 RGB.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

WINDOW = 11
DEVIATION = 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(a_NHW3: npt.NDArray[np.uint8], b_NHW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the SSIM of each frame, (N,), mean over channels and the places where the whole window fits.

    Args:
        a_NHW3: uint8 pictures of at least 11x11.
        b_NHW3: as many others of the same size.
    """
    a, b = planes(a_NHW3), planes(b_NHW3)
    mean_a, mean_b = blur(a), blur(b)
    variance_a = blur(a * a) - mean_a**2
    variance_b = blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + C1) * (2 * covariance + C2)) / (
        (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    )
    return np.asarray(similarity.mean(dim=(1, 2, 3)), dtype=np.float64)


def planes(frames_NHW3: npt.NDArray[np.uint8]) -> Tensor:
    """Return frames as float64 planes, (N, 3, H, W), 0 to 255."""
    return torch.from_numpy(np.ascontiguousarray(frames_NHW3)).permute(0, 3, 1, 2).double()


def blur(planes_NCHW: Tensor) -> Tensor:
    """Average under the Gaussian window, where it fits whole.

    As a sum of shifted pictures, which takes a fifth of the time of a convolution in float64.
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / DEVIATION) ** 2)
    line = [float(weight) for weight in weights / weights.sum()]
    height, width = planes_NCHW.shape[2] - WINDOW + 1, planes_NCHW.shape[3] - WINDOW + 1
    rows, averages = planes_NCHW.new_zeros(()), planes_NCHW.new_zeros(())
    for shift, weight in enumerate(line):
        rows = rows + weight * planes_NCHW[..., shift : shift + width]
    for shift, weight in enumerate(line):
        averages = averages + weight * rows[..., shift : shift + height, :]
    return averages
