"""Coordinates of the networks: one convention, in one file.

A point is (x, y) in [-1, 1], x to the right and y downwards; -1 and 1 are the outer *edges* of the picture, so that
cell i of n has its centre at (2 i + 1) / n - 1. Every sampling in the project is ``align_corners=False`` accordingly.

Shape legend: B batch, K keypoints, C = 2 coordinates (x, y), H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return the centres of a grid's cells, (H, W, 2), on the device and in the dtype of ``like``."""
    y = (torch.arange(height, device=like.device, dtype=like.dtype) * 2 + 1) / height - 1
    x = (torch.arange(width, device=like.device, dtype=like.dtype) * 2 + 1) / width - 1
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)


def gaussians(points_BKC: Tensor, size: int, variance: float) -> Tensor:
    """Draw a Gaussian at each point (FOMM, section 3.2; implicit warping, section 3).

    Args:
        points_BKC: (B, K, 2) in [-1, 1].
        size: height and width of the maps.
        variance: in squared [-1, 1] coordinates.

    Returns:
        (B, K, size, size), 1 at the point itself.
    """
    centres_HWC = cell_centres(size, size, points_BKC)
    difference_BKHWC = centres_HWC - points_BKC[:, :, None, None, :]
    return torch.exp(-0.5 * difference_BKHWC.square().sum(-1) / variance)


def sample(image_BCHW: Tensor, grid_BHWC: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample an image at the points of a grid, bilinearly or by "bicubic" mode; outside, the border repeats."""
    return F.grid_sample(
        image_BCHW, grid_BHWC.to(image_BCHW.dtype), mode=mode, padding_mode="border", align_corners=False
    )


def resize(image_BCHW: Tensor, size: int) -> Tensor:
    """Resize square maps: area average when smaller, bilinear when larger, the same map when equal."""
    if image_BCHW.shape[-1] == size:
        return image_BCHW
    if image_BCHW.shape[-1] % size == 0:
        return F.avg_pool2d(image_BCHW, image_BCHW.shape[-1] // size)
    return F.interpolate(
        image_BCHW, size=(size, size), mode="bilinear", align_corners=False, antialias=size < image_BCHW.shape[-1]
    )
