"""Jitter of training pictures: mirrored, moved and scaled, landmarks with them.

    images_NCHW, landmarks_NLC -> Jitter -> the same of what a slightly different crop would show

Shape legend: N pictures, C channels or (x, y), H height, W width, L landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.model.grid import cell_centres, sample

MIRRORED = (2, 1, 0, 4, 3, 5, 6, 10, 11, 12, 7, 8, 9, 14, 13, 15, 16, 17, 19, 18)
"""Which landmark each one becomes in a mirrored picture; see ``training.landmarks``."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """Where each picture is sampled: what is at ``p`` afterwards was at ``factor * p + shift``.

    Attributes:
        factor_NC: (N, 2), negative in x for mirrored pictures.
        shift_NC: (N, 2).
    """

    factor_NC: Tensor
    shift_NC: Tensor

    def pictures(self, images_NCHW: Tensor, size: int) -> Tensor:
        """Return the pictures, (N, 3, size, size)."""
        grid_HWC = cell_centres(size, size, images_NCHW)
        grid_NHWC = grid_HWC * self.factor_NC[:, None, None] + self.shift_NC[:, None, None]
        if images_NCHW.shape[-1] >= 2 * size:
            images_NCHW = F.avg_pool2d(images_NCHW, images_NCHW.shape[-1] // size)
        return sample(images_NCHW, grid_NHWC)

    def points(self, landmarks_NLC: Tensor) -> Tensor:
        """Return the landmarks, (N, L, 2); left and right change names in a mirrored picture."""
        moved_NLC = (landmarks_NLC - self.shift_NC[:, None]) / self.factor_NC[:, None]
        mirrored_N11 = (self.factor_NC[:, 0] < 0)[:, None, None]
        return torch.where(mirrored_N11, moved_NLC[:, list(MIRRORED[: landmarks_NLC.shape[1]])], moved_NLC)
