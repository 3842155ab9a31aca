"""One picture to watch a run by: references, driving with keypoints, carried pixels, gain, output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from codec.model.generator import Generated
from codec.structs import Keypoints
from training.dataset import Batch

ROWS = 6


def save_training_picture(path: Path, batch: Batch, keypoints: Keypoints, generated: Generated) -> None:
    """Write a grid, one row a sample: reference 1, driving with keypoints, carried, gain, output.

    Args:
        path: PNG to write.
        batch: the samples.
        keypoints: of the driving pictures first.
        generated: what the network made of them.
    """
    rows = []
    for row in range(min(ROWS, batch.driving_BCHW.shape[0])):
        tiles = [to_rgb(batch.references_BRCHW[row, 0]), draw(batch.driving_BCHW[row], keypoints, row)]
        if generated.warped_BCHW is not None and generated.carry_BCHW is not None:
            tiles += [to_rgb(generated.warped_BCHW[row]), to_rgb(generated.carry_BCHW[row].expand(3, -1, -1) / 2)]
        rows.append(np.concatenate([*tiles, to_rgb(generated.image_BCHW[row])], axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)


def to_rgb(image_CHW: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Turn a picture in [0, 1] into bytes, (H, W, 3)."""
    bytes_HWC = (image_CHW.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return np.asarray(bytes_HWC.cpu().numpy())


def draw(image_CHW: Tensor, keypoints: Keypoints, row: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Draw a picture's keypoints on it, brighter where stronger."""
    picture = Image.fromarray(to_rgb(image_CHW))
    pen = ImageDraw.Draw(picture)
    size = picture.width
    for (x, y), strength in zip(
        keypoints.locations_BKC[row].tolist(), keypoints.strengths_BK[row].tolist(), strict=True
    ):
        centre_x, centre_y, radius = (x + 1) * size / 2, (y + 1) * size / 2, max(1, size // 85)
        colour = (255, int(255 * strength), 0)
        pen.ellipse((centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius), fill=colour)
    return np.asarray(picture)
