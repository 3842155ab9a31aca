"""Before stage 1: find the faces in a picture.

    rgb (H, W, 3) -> FaceDetector -> Face, Face, ...

The detector is MTCNN (Zhang, Zhang, Li and Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks", 2016) as packaged by facenet-pytorch, on a small copy of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]

# One core takes 45 to 60 ms at these settings. The box of one face then varies by 5% from frame to frame, as it does at
# twice the cost with faces from 20 pixels on: the tracker has to be steadier than that anyway.
DETECTION_SIDE = 320
SMALLEST_FACE = 24
LEAST_SCORE = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in a picture.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels; may reach over the picture's edge.
        score: the detector's confidence in [0, 1].
        landmarks_5x2: (x, y) of left eye, right eye, nose, left and right corner of the mouth, as the viewer sees them.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    landmarks_5x2: npt.NDArray[np.float32]

    @property
    def center(self) -> tuple[float, float]:
        """Centre of the box, pixels."""
        left, top, right, bottom = self.box_xyxy
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> float:
        """Square root of the box's area, pixels: steadier than width or height when a head turns or a mouth opens."""
        left, top, right, bottom = self.box_xyxy
        return math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))


class Detector(Protocol):
    """What finds faces; ``FaceDetector`` is the one that ships."""

    def detect(self, rgb: Picture) -> list[Face]:
        """Return the faces in a picture (H, W, 3), the largest first."""


class FaceDetector:
    """MTCNN on a small copy of the picture."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    @cached_property
    def _network(self) -> Any:
        # Imported at the first use: torchvision and MTCNN take seconds, and a receiver with ready crops needs neither.
        from facenet_pytorch.models.mtcnn import MTCNN

        build: Any = MTCNN
        return build(keep_all=True, min_face_size=SMALLEST_FACE, device=self._device)

    def detect(self, rgb: Picture) -> list[Face]:
        """Return the faces in a picture, the largest first.

        Args:
            rgb: (H, W, 3), any size.
        """
        height, width = rgb.shape[:2]
        scale = min(1.0, DETECTION_SIDE / max(height, width))
        small = Image.fromarray(rgb).resize(
            (max(round(width * scale), 1), max(round(height * scale), 1)), Image.Resampling.BILINEAR, reducing_gap=2.0
        )
        if min(small.size) < SMALLEST_FACE:
            return []  # MTCNN would build an empty pyramid and fail (facenet-pytorch issue 176)
        boxes, scores, landmarks = self._network.detect(small, landmarks=True)
        if boxes is None:
            return []
        faces = [
            Face(_tuple_of_4(box / scale), float(score), np.asarray(points / scale, dtype=np.float32))
            for box, score, points in zip(boxes, scores, landmarks, strict=True)
            if score >= LEAST_SCORE
        ]
        return sorted(faces, key=lambda face: face.size, reverse=True)


def _tuple_of_4(box: npt.NDArray[Any]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom
