"""Evaluation, to look at: a clip as rows of pictures, labelled.

    Rows (references; source, received, frozen at some frames) -> draw -> PNG

The last row is the error, |received - source|, four times as bright as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from codec import Model
from codec.errors import OutputError, TrainingError
from training.evaluate.clips import Clip, Frames, Picture, reference_positions, scored_positions
from training.evaluate.transmission import Transmission, nearest_references

ERROR_GAIN = 4
GAP = 4
HEADER = 26
LABEL_WIDTH = 112
FONT_SIZE = 16
INK, PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """What a strip shows.

    Attributes:
        title: one line above it.
        references: positions of the references in the clip.
        references_RSS3: the references.
        positions: of the columns in the clip.
        source_NSS3: what was sent.
        received_NSS3: what the receiver made of it.
        frozen_NSS3: the nearest reference.
    """

    title: str
    references: tuple[int, ...]
    references_RSS3: Frames
    positions: tuple[int, ...]
    source_NSS3: Frames
    received_NSS3: Frames
    frozen_NSS3: Frames


def evenly_spaced(positions: Sequence[int], number: int) -> tuple[int, ...]:
    """Return at most ``number`` of the positions, evenly spaced, the middle of each part."""
    number = min(number, len(positions))
    return tuple(positions[(2 * index + 1) * len(positions) // (2 * number)] for index in range(number))


def strip_of(clip: Clip, model: Model, num_references: int, num_frames: int) -> Strip:
    """Send a clip and gather its strip.

    Raises:
        TrainingError: the clip is too short.
    """
    references = reference_positions(len(clip), num_references)
    positions = evenly_spaced(scored_positions(len(clip), references, every=1), num_frames)
    references_RSS3 = clip.frames_NSS3[list(references)]
    transmission = Transmission(clip, model, list(references_RSS3))
    source_NSS3 = clip.frames_NSS3[list(positions)]
    return Strip(
        title=f"{clip.name}: {len(references)} reference(s), {transmission.bits_per_frame:.0f} bits a frame",
        references=references,
        references_RSS3=references_RSS3,
        positions=positions,
        source_NSS3=source_NSS3,
        received_NSS3=transmission.pictures(positions),
        frozen_NSS3=references_RSS3[nearest_references(source_NSS3, references_RSS3)],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row of a sheet.

    Attributes:
        label: at its left; may have several lines.
        pictures_NSS3: the pictures.
        positions: written above them; none where empty.
    """

    label: str
    pictures_NSS3: Frames
    positions: tuple[int, ...]


def draw(strip: Strip) -> Image.Image:
    """Draw a strip.

    Raises:
        TrainingError: it has no picture.
    """
    if len(strip.positions) == 0:
        raise TrainingError("no frame to draw")
    error_NSS3 = error_picture(strip.received_NSS3, strip.source_NSS3)
    rows = (
        Row("references", strip.references_RSS3, strip.references),
        Row("source", strip.source_NSS3, strip.positions),
        Row("received", strip.received_NSS3, ()),
        Row("frozen", strip.frozen_NSS3, ()),
        Row(f"error x{ERROR_GAIN}", error_NSS3, ()),
    )
    return sheet(strip.title, rows)


def error_picture(received_NSS3: Frames, source_NSS3: Frames) -> Frames:
    """Return the error, |received - source|, four times as bright as it is."""
    error = np.abs(received_NSS3.astype(np.int16) - source_NSS3)
    return np.asarray(np.minimum(error * ERROR_GAIN, 255), np.uint8)


def sheet(title: str, rows: Sequence[Row]) -> Image.Image:
    """Draw rows of pictures of one size under a title."""
    size = rows[0].pictures_NSS3.shape[1]
    columns = max(len(row.pictures_NSS3) for row in rows)
    heights = [size + GAP + (HEADER if row.positions else 0) for row in rows]
    drawn = Image.new("RGB", (LABEL_WIDTH + columns * (size + GAP), HEADER + sum(heights)), PAPER)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(FONT_SIZE)
    pen.text((GAP, GAP), title, fill=INK, font=font)
    top = HEADER
    for row, height in zip(rows, heights, strict=True):
        _draw_row(drawn, pen, font, top, row.label, row.pictures_NSS3, row.positions)
        top += height
    return drawn


def _draw_row(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    top: int,
    label: str,
    pictures: Sequence[Picture] | Frames,
    numbers: tuple[int, ...],
) -> None:
    size = pictures[0].shape[0]
    picture_top = top + (HEADER if numbers else 0)
    height = (label.count("\n") + 1) * FONT_SIZE
    pen.text((GAP, picture_top + (size - height) // 2), label, fill=INK, font=font)
    for column, picture in enumerate(pictures):
        left = LABEL_WIDTH + column * (size + GAP)
        if numbers:
            pen.text((left, top + GAP), f"frame {numbers[column]}", fill=INK, font=font)
        sheet.paste(Image.fromarray(picture), (left, picture_top))


def write_strip(strip: Strip, path: Path) -> None:
    """Draw a strip and write it as PNG, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_picture(draw(strip), path)


def write_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(partial, "PNG")
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
