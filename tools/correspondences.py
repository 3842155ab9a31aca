"""Draw where the attention finds the cells of a clip's frames in its references: ``python -m tools.correspondences``.

    references with dots where cells are found | the same dots, looked for | keypoints | carried | received

A dot has one colour in all pictures of its row; in a reference it is the larger, the more of the attention it gets.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from codec import Decoder, Encoder, load_model
from codec.bitstream.quantise import dequantise
from codec.errors import WarpcallError
from codec.frames import image_from_rgb
from codec.memory import ReferencePictures
from training.correspondence import correspondences
from training.evaluate.clips import read_clip, reference_positions
from training.picture import Picture, dots, draw, draw_keypoints, to_rgb


@dataclass(frozen=True, kw_only=True)
class CorrespondencesConfig:
    """What to draw."""

    clip: Path
    """An mp4 clip of square pictures."""
    out: Path
    """Picture to write."""
    references: int = 3
    """Number of reference pictures, evenly spaced from the first frame on."""
    frames: int = 4
    """Number of rows."""
    weights: Path | None = None
    """Model weights in place of the ones built in."""


def rows(config: CorrespondencesConfig) -> list[Picture]:
    """Code the chosen frames and draw a row for each."""
    model = load_model(config.weights, "cpu")
    frames = read_clip(config.clip, model.config.image_size).frames_NSS3
    pictures = ReferencePictures(model)
    encoder, decoder = Encoder(model, pictures=pictures), Decoder(model, pictures)
    references = [frames[position] for position in reference_positions(len(frames), config.references)]
    for each in (encoder, decoder):
        each.set_references(references)
    cells, centres_NC, colours = dots(model.config.grid_size**2)
    drawn = []
    for position in np.linspace(0, len(frames) - 1, config.frames + 2)[1:-1].astype(int):
        coded = decoder.parse(encoder.encode(frames[position]).payload)
        keypoints, generated = dequantise(coded.keypoints, model.config), decoder.generate_all(coded)
        with torch.inference_mode():
            memory = pictures.memories()[coded.reference]
            found = correspondences(model.generator, keypoints, memory)
        driving_CHW = image_from_rgb(frames[position])[0]
        tiles = [
            draw(
                image_from_rgb(reference)[0],
                found.places_BNRC[0, cells, slot],
                colours,
                3 * found.shares_BNR[0, cells, slot].sqrt(),
            )
            for slot, reference in enumerate(references)
        ]
        tiles += [draw(driving_CHW, centres_NC, colours, torch.full((len(cells),), 1.5))]
        tiles += [draw_keypoints(driving_CHW, keypoints, 0)]
        if generated.warped_BCHW is not None:
            tiles.append(to_rgb(generated.warped_BCHW[0]))
        drawn.append(np.concatenate([*tiles, to_rgb(generated.image_BCHW[0])], axis=1))
    return drawn


def main(argv: list[str] | None = None) -> int:
    """Draw and write."""
    config = tyro.cli(CorrespondencesConfig, args=argv, prog="python -m tools.correspondences", description=__doc__)
    try:
        Image.fromarray(np.concatenate(rows(config))).save(config.out)
    except (WarpcallError, OSError) as error:
        print(f"correspondences: {config.clip.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
