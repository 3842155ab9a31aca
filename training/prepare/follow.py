"""Data preparation: where the square lies in the next picture of a scene.

rgb, time -> Follower -> Sight: square, and whether the person is known to be in it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from codec.face import Detector, Face, FaceTracker, Framing, Picture, Square, inside
from training.prepare.task import Box

# MTCNN's box of a face at the picture's edge reaches over it; a face of which a fifth is cut off shows no whole mouth
# or no whole eye.
LEAST_SHARE_INSIDE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What was seen of the person in a picture.

    Attributes:
        square: to crop.
        looked: whether anybody looked at this picture; between detections the square is held or glides.
        face: who was seen, if anybody looked; None of a published box.
        absence: why the person is not there, when that was seen.
    """

    square: Square
    looked: bool
    face: Face | None = None
    absence: str | None = None


class Follower(Protocol):
    """What follows the person through one scene."""

    def follow(self, rgb: Picture, time_s: float) -> Sight:
        """Take the next picture (H, W, 3)."""


class FaceFollower:
    """Follows the face exactly as the sender does: the same tracker, with its detections in line.

    Args:
        detector: finds faces.
        framing: how much of the person the square shows.
        box: only faces with their centre in it are followed; None takes whom the sender would take.
    """

    def __init__(self, detector: Detector, framing: Framing, box: Box | None) -> None:
        self._watch = _Watch(detector, box)
        self._tracker = FaceTracker(self._watch, background=False, framing=framing)

    def follow(self, rgb: Picture, time_s: float) -> Sight:
        """Take the next picture (H, W, 3)."""
        self._watch.looked = False
        square = self._tracker.update(rgb, time_s)
        if not self._watch.looked:
            return Sight(square, looked=False)
        face = self._tracker.face
        if not self._tracker.has_face or face is None:
            return Sight(square, looked=True, absence="no face")
        if share_inside(face, rgb.shape[1], rgb.shape[0]) < LEAST_SHARE_INSIDE:
            return Sight(square, looked=True, absence="the face leaves the picture")
        return Sight(square, looked=True, face=face)


class BoxFollower:
    """Cuts a published box, squared."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def follow(self, rgb: Picture, time_s: float) -> Sight:
        """Take the next picture (H, W, 3)."""
        return Sight(square_of_box(self._box, rgb.shape[1], rgb.shape[0]), looked=True)


def square_of_box(box: Box, width: int, height: int) -> Square:
    """Return the square with a box's longer side, as far as it fits into the picture.

    Args:
        box: published.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    left, top, right, bottom = box.left * width, box.top * height, box.right * width, box.bottom * height
    return inside(Square((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top)), width, height)


def share_inside(face: Face, width: int, height: int) -> float:
    """Return the share of a face's box that lies in the picture."""
    left, top, right, bottom = face.box_xyxy
    area = (right - left) * (bottom - top)
    across = max(min(right, width) - max(left, 0.0), 0.0)
    down = max(min(bottom, height) - max(top, 0.0), 0.0)
    return across * down / area if area > 0 else 0.0


class _Watch:
    """A detector that says whether it was asked, and sees only what is in the box."""

    def __init__(self, detector: Detector, box: Box | None) -> None:
        self._detector, self._box = detector, box
        self.looked = False

    def detect(self, rgb: Picture) -> list[Face]:
        self.looked = True
        faces = self._detector.detect(rgb)
        return faces if self._box is None else [face for face in faces if _is_within(face, self._box, rgb.shape)]


def _is_within(face: Face, box: Box, shape: tuple[int, ...]) -> bool:
    x, y = face.center[0] / shape[1], face.center[1] / shape[0]
    return box.left <= x <= box.right and box.top <= y <= box.bottom
