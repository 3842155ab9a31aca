"""Before stage 1: from a face to the square that the codec codes, and to its pixels.

    Face -> square_of -> Square -> crop -> rgb (S, S, 3)

Coordinates are pixels of the full picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from codec.errors import FaceNotFoundError
from codec.face.detect import Detector, Face, Picture

# Medians over the training clips (256x256 squares around head and shoulders), 40 news readers (five in six of all
# clips) and 40 others: side of the box (square root of its area) 0.476 and 0.496 of the square, tenth to ninetieth
# percentile 0.425 to 0.622; centre of the box at (0.489, 0.448) and (0.503, 0.475).
FACE_TO_SQUARE = 0.48
FACE_CENTER = (0.5, 0.455)

# A picture that is itself nearly square, with a face that would take most of it, was cropped already (the tenth
# percentile above is 0.425 / 0.48 = 0.89).
CROPPED_ASPECT = 1.1
CROPPED_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Framing:
    """How much of a person the square shows: where the face lies in it.

    Attributes:
        face_share: side of the face's box (square root of its area), in shares of the square's.
        face_x: centre of the face's box, in shares of the square's side from the left.
        face_y: the same from the top.
    """

    face_share: float
    face_x: float
    face_y: float


HEAD = Framing(FACE_TO_SQUARE, *FACE_CENTER)
"""Head and shoulders: what a call codes."""
UPPER_BODY = Framing(0.21, 0.5, 0.22)
"""From the top of the head to the waist, by the proportions of standing people; hands may leave the square."""


@dataclass(frozen=True, slots=True)
class Square:
    """An upright square of the picture: what is cropped.

    Attributes:
        center_x: pixels.
        center_y: pixels.
        size: height and width, pixels.
    """

    center_x: float
    center_y: float
    size: float


def center_square(width: int, height: int) -> Square:
    """Return the largest square in the middle of a picture: what is coded when there is no face."""
    return Square(width / 2, height / 2, float(min(width, height)))


def square_of(face: Face, width: int, height: int, framing: Framing = HEAD) -> Square:
    """Return the square around a face, by default head and shoulders, framed as the training clips are.

    In the training clips the face's box has the side 0.48 of the square (square root of its area), and its centre lies
    at (0.5, 0.455) of the square: medians, measured with this detector. The square is kept inside the picture. A
    picture that is such a crop already is taken whole.

    Args:
        face: found in a picture of this size.
        width: of the picture, pixels.
        height: of the picture, pixels.
        framing: where the face shall lie in the square.
    """
    limit = float(min(width, height))
    size = min(face.size / framing.face_share, limit)
    if max(width, height) <= CROPPED_ASPECT * limit and size >= CROPPED_SHARE * limit:
        size = limit
    face_x, face_y = face.center
    center_x = face_x + (0.5 - framing.face_x) * size
    center_y = face_y + (0.5 - framing.face_y) * size
    return inside(Square(center_x, center_y, size), width, height)


def inside(square: Square, width: int, height: int) -> Square:
    """Return the square moved (and, where needed, shrunk) so that it lies in the picture."""
    size = min(square.size, float(width), float(height))
    half = size / 2
    return Square(
        min(max(square.center_x, half), width - half),
        min(max(square.center_y, half), height - half),
        size,
    )


def crop(rgb: Picture, square: Square, size: int) -> Picture:
    """Cut a square out and scale it.

    Args:
        rgb: (H, W, 3).
        square: may reach over the edge, where the picture's outermost pixels are repeated.
        size: height and width of the result, pixels.

    Returns:
        (size, size, 3).
    """
    height, width = rgb.shape[:2]
    half = square.size / 2
    left, top = square.center_x - half, square.center_y - half
    right, bottom = square.center_x + half, square.center_y + half
    over = math.ceil(max(-left, -top, right - width, bottom - height, 0.0))
    if over:
        rgb = np.pad(rgb, ((over, over), (over, over), (0, 0)), mode="edge")
        left, top, right, bottom = left + over, top + over, right + over, bottom + over
    box = (max(left, 0.0), max(top, 0.0), min(right, float(rgb.shape[1])), min(bottom, float(rgb.shape[0])))
    return np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC, box=box))


def crop_reference(rgb: Picture, size: int, detector: Detector) -> Picture:
    """Crop a still picture of a person as the sender crops its camera.

    Args:
        rgb: (H, W, 3).
        size: height and width of the result, pixels.
        detector: finds the face; the largest one is taken.

    Returns:
        (size, size, 3).

    Raises:
        FaceNotFoundError: there is no face in the picture.
    """
    faces = detector.detect(rgb)
    height, width = rgb.shape[:2]
    if not faces:
        raise FaceNotFoundError(f"no face in the picture of {width}x{height} pixels")
    return crop(rgb, square_of(faces[0], width, height), size)
