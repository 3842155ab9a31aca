"""Stage 1 of 8: av.VideoFrame to image, and back.

av.VideoFrame (any pixel format) <-> rgb uint8 (H, W, 3) <-> image_BCHW float32 (1, 3, H, W) in [0, 1]
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rgb = npt.NDArray[np.uint8]


def rgb_from_frame(frame: av.VideoFrame) -> Rgb:
    """Return a frame's pixels, uint8 (H, W, 3)."""
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def frame_from_rgb(rgb: Rgb) -> av.VideoFrame:
    """Return pixels, uint8 (H, W, 3) with even sides, as a yuv420p frame."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format="yuv420p")


def image_from_rgb(rgb: Rgb) -> Tensor:
    """Return pixels, uint8 (H, W, 3), as an image (1, 3, H, W) in [0, 1]."""
    pixels_HWC = torch.from_numpy(np.array(rgb, dtype=np.uint8))
    return pixels_HWC.permute(2, 0, 1)[None].float() / 255


def rgb_from_image(image_BCHW: Tensor) -> Rgb:
    """Return the first image of a batch, about [0, 1], as pixels, uint8 (H, W, 3)."""
    bytes_HWC = (image_BCHW[0].float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return np.ascontiguousarray(bytes_HWC.cpu().numpy())
