"""Evaluation metrics of the face: MTCNN's five landmarks, their distance (AKD), and the mouth and eye regions.

    pictures -> MtcnnLandmarks.detect -> landmarks of each face -> keypoint_distance, mouth_box, eyes_box

AKD is the paper's supplement, section B.1: the mean distance of the keypoints that a detector finds in the received
picture from those in the source. Landmarks are left eye, right eye, nose, left and right corner of the mouth, in pixels
of the picture. Shape legend: N pictures, F faces, 5 landmarks, 2 = (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Frames = npt.NDArray[np.uint8]
Landmarks = npt.NDArray[np.float32]

# A head-and-shoulders square shows a face of 0.35 to 0.7 of its side; smaller ones are looked for down to a quarter.
# On 256x256 pictures this takes half the time of MTCNN's default (faces from 20 pixels on) and is no noisier: the
# landmarks of a JPEG copy (quality 60) are 0.6 to 1.7 pixels off with either.
SMALLEST_FACE_SHARE = 0.25
SMALLEST_FACE = 20
NUM_LANDMARKS = 5

# Height and width of the regions as LPIPS sees them, pixels, and in units of the face's scale.
MOUTH_SIZE, MOUTH_SCALE = (96, 128), (0.9, 1.2)
EYES_SIZE, EYES_SCALE = (64, 160), (0.8, 2.0)


class LandmarkDetector(Protocol):
    """What finds landmarks; ``MtcnnLandmarks`` is the one that is reported."""

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        """Return for each picture its faces, the largest first, (F, 5, 2)."""


class MtcnnLandmarks:
    """MTCNN (Zhang et al. 2016) as packaged by facenet-pytorch, in batches.

    Args:
        size: height and width of the pictures, pixels.
        device: to run on.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        from facenet_pytorch.models.mtcnn import MTCNN

        build: Any = MTCNN
        smallest = max(SMALLEST_FACE, round(size * SMALLEST_FACE_SHARE))
        self._network = build(keep_all=True, min_face_size=smallest, device=device)

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        """Return for each picture its faces, the largest first, (F, 5, 2); F may be 0."""
        _, _, landmarks = self._network.detect(frames_NHW3, landmarks=True)
        none = np.zeros((0, NUM_LANDMARKS, 2), dtype=np.float32)
        return [none if faces is None else np.array(faces.tolist(), dtype=np.float32) for faces in landmarks]


def keypoint_distance(source_52: Landmarks, faces_F52: Landmarks) -> float | None:
    """Return the mean distance of five landmarks from the source's, pixels; None when no face was found.

    Of several faces the nearest counts, so that a face in the background does not decide.
    """
    if len(faces_F52) == 0:
        return None
    distances_F = np.sqrt(np.square(faces_F52 - source_52).sum(axis=2)).mean(axis=1)
    return float(distances_F.min())


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, pixels; may reach over its edge."""

    left: float
    top: float
    width: float
    height: float


def mouth_box(landmarks_52: Landmarks) -> Box:
    """Return the region around the mouth: 1.2 by 0.9 of the face's scale."""
    return _box(landmarks_52[3:5].mean(axis=0), face_scale(landmarks_52), MOUTH_SCALE)


def eyes_box(landmarks_52: Landmarks) -> Box:
    """Return the region around both eyes and brows: 2.0 by 0.8 of the face's scale."""
    return _box(landmarks_52[0:2].mean(axis=0), face_scale(landmarks_52), EYES_SCALE)


def face_scale(landmarks_52: Landmarks) -> float:
    """Return the larger of the eyes' distance and the distance of eyes and mouth: steady when a head turns or nods."""
    between_eyes = float(np.linalg.norm(landmarks_52[1] - landmarks_52[0]))
    eyes_to_mouth = float(np.linalg.norm(landmarks_52[3:5].mean(axis=0) - landmarks_52[0:2].mean(axis=0)))
    return max(between_eyes, eyes_to_mouth, 1.0)


def cut(image_BCHW: Tensor, boxes: list[Box], size: tuple[int, int]) -> Tensor:
    """Cut one box out of each picture and resample it bilinearly; the edge is repeated outside.

    Args:
        image_BCHW: pictures.
        boxes: B of them.
        size: height and width of the result, pixels.
    """
    _, _, height, width = image_BCHW.shape
    theta_B23 = torch.tensor(
        [
            [
                [box.width / width, 0.0, (2 * box.left + box.width) / width - 1],
                [0.0, box.height / height, (2 * box.top + box.height) / height - 1],
            ]
            for box in boxes
        ],
        device=image_BCHW.device,
    )
    grid_BHW2 = functional.affine_grid(theta_B23, [len(boxes), image_BCHW.shape[1], *size], align_corners=False)
    return functional.grid_sample(image_BCHW, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False)


def _box(center_2: Landmarks, scale: float, height_width: tuple[float, float]) -> Box:
    height, width = height_width[0] * scale, height_width[1] * scale
    return Box(float(center_2[0]) - width / 2, float(center_2[1]) - height / 2, width, height)
