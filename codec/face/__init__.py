"""Before stage 1: find the face, follow it, and crop the square that the codec codes.

    rgb (H, W, 3) -> FaceDetector -> Face -> square_of -> Square -> crop -> rgb (S, S, 3)
                            FaceTracker: the same, now and then, steady in between

Sender, receiver and training crop with this one package, so that a reference picture, a camera and a training clip show
a head at the same size and place. Coordinates are pixels of the full picture, x to the right and y downwards, (0, 0) at
the upper left corner.
"""

from codec.face.detect import Detector, Face, FaceDetector, Picture
from codec.face.square import (
    HEAD,
    UPPER_BODY,
    Framing,
    Square,
    center_square,
    crop,
    crop_reference,
    inside,
    square_of,
)
from codec.face.track import FaceTracker

__all__ = [
    "HEAD",
    "UPPER_BODY",
    "Detector",
    "Face",
    "FaceDetector",
    "FaceTracker",
    "Framing",
    "Picture",
    "Square",
    "center_square",
    "crop",
    "crop_reference",
    "inside",
    "square_of",
]
