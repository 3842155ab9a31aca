"""One picture to watch a run by, a row a sample.

    references with the places that the attention finds | the same dots where they are looked for | driving with
    keypoints | carried pixels | output

A dot has one colour in all pictures of its row; in a reference it is the larger, the more of the attention it gets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from codec.structs import Keypoints
from training.correspondence import Correspondences
from training.feed import Batch
from training.reconstruction import Reconstructed

Picture = npt.NDArray[np.uint8]

ROWS = 4
DOTS = 6


def training_picture(batch: Batch, made: Reconstructed, found: Correspondences) -> Picture:
    """Draw the first samples of a batch, (H, W, 3).

    Args:
        batch: the samples.
        made: what the network made of them.
        found: where the attention finds the driving pictures' cells.
    """
    rows = [draw_row(row, batch, made, found) for row in range(min(ROWS, len(batch.driving_BCHW)))]
    return np.concatenate(rows)


def save_picture(path: Path, picture: Picture) -> None:
    """Write a picture as PNG."""
    Image.fromarray(picture).save(path)


def draw_row(row: int, batch: Batch, made: Reconstructed, found: Correspondences) -> Picture:
    """Draw one sample."""
    cells, centres_NC, colours = dots(found.places_BNRC.shape[1])
    tiles = []
    for slot, reference_CHW in enumerate(batch.references_BRCHW[row]):
        places_NC, shares_N = found.places_BNRC[row, cells, slot], found.shares_BNR[row, cells, slot]
        tiles.append(draw(reference_CHW, places_NC, colours, 3 * shares_N.sqrt()))
    driving_CHW, keypoints = batch.driving_BCHW[row], made.keypoints
    tiles += [draw(driving_CHW, centres_NC, colours, torch.full((len(cells),), 1.5))]
    tiles += [draw_keypoints(driving_CHW, keypoints, row)]
    if made.generated.warped_BCHW is not None:
        tiles.append(to_rgb(made.generated.warped_BCHW[row]))
    return np.concatenate([*tiles, to_rgb(made.generated.image_BCHW[row])], axis=1)


def dots(num_cells: int) -> tuple[list[int], Tensor, list[tuple[int, int, int]]]:
    """Return cells evenly spread over the attention's grid, their centres (N, 2) and a colour for each."""
    grid = round(num_cells**0.5)
    line = [(2 * index + 1) * grid // (2 * DOTS) for index in range(DOTS)]
    cells = [(y, x) for y in line for x in line]
    centres_NC = (torch.tensor([(x, y) for y, x in cells]) * 2 + 1) / grid - 1
    colours = [(int(255 * x / grid), int(255 * y / grid), int(255 * (1 - x / grid))) for y, x in cells]
    return [y * grid + x for y, x in cells], centres_NC, colours


def to_rgb(image_CHW: Tensor) -> Picture:
    """Turn a picture in [0, 1] into bytes, (H, W, 3)."""
    bytes_HWC = (image_CHW.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return np.asarray(bytes_HWC.cpu().numpy())


def draw(image_CHW: Tensor, places_NC: Tensor, colours: list[tuple[int, int, int]], radii_N: Tensor) -> Picture:
    """Draw dots on a picture; radii are in 128ths of its width."""
    picture = Image.fromarray(to_rgb(image_CHW))
    pen = ImageDraw.Draw(picture)
    for (x, y), colour, radius in zip(places_NC.tolist(), colours, radii_N.tolist(), strict=True):
        if radius < 0.3:
            continue
        centre_x, centre_y, reach = (
            (x + 1) * picture.width / 2,
            (y + 1) * picture.width / 2,
            radius * picture.width / 128,
        )
        pen.ellipse((centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach), fill=colour)
    return np.asarray(picture)


def draw_keypoints(image_CHW: Tensor, keypoints: Keypoints, row: int) -> Picture:
    """Draw a picture's keypoints on it: red when weak, yellow when strong."""
    strengths = keypoints.strengths_BK[row].tolist()
    colours = [(255, int(255 * strength), 0) for strength in strengths]
    return draw(image_CHW, keypoints.locations_BKC[row], colours, torch.full((len(colours),), 1.5))
