"""Evaluation, metrics together: compare pictures with their source, batch by batch.

    source pictures -> Bench.look -> Look;  Look of a picture, Look of its source -> Bench.compare -> Comparison
    Comparison, ... -> Tally -> Scores

A ``Look`` holds all that LPIPS and AKD need of a picture, so that a source or a reference is looked at once however
many pictures it is compared with. Shape legend: N pictures, S height and width, 5 landmarks, 2 = (x, y).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.evaluate.clips import Frames, Picture
from training.evaluate.metrics.landmarks import (
    EYES_SIZE,
    MOUTH_SIZE,
    LandmarkDetector,
    Landmarks,
    cut,
    eyes_box,
    keypoint_distance,
    mouth_box,
)
from training.evaluate.metrics.lpips import Features, LpipsAlex
from training.evaluate.metrics.pixels import mean_absolute_error, mean_squared_error, psnr_db, temporal_error

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Pictures as the metrics see them.

    Attributes:
        frames_NSS3: the pictures.
        features: LPIPS taps of the whole pictures.
        faces: landmarks of each picture's faces, the largest first; None where they are not measured.
    """

    frames_NSS3: Frames
    features: Features
    faces: list[Landmarks] | None

    def __getitem__(self, index: list[int]) -> Look:
        """Return some of the pictures, in the order asked for."""
        faces = None if self.faces is None else [self.faces[position] for position in index]
        return Look(self.frames_NSS3[index], tuple(tap[index] for tap in self.features), faces)


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the scored frames of a clip; None where nothing could be measured.

    Attributes:
        psnr_db: mean of the frames' PSNR, dB.
        l1: mean absolute difference, steps of 0 to 255.
        lpips_alex: LPIPS-Alex of the whole picture.
        akd: mean distance of MTCNN's landmarks from the source's, pixels.
        mouth_lpips: LPIPS-Alex of the region around the source's mouth.
        eyes_lpips: LPIPS-Alex of the region around the source's eyes.
        temporal_error: mean absolute difference of frame-to-frame changes, steps of 0 to 255.
        faceless: share of frames in which no face was found though the source has one.
    """

    psnr_db: float
    l1: float
    lpips_alex: float
    akd: float | None
    mouth_lpips: float | None
    eyes_lpips: float | None
    temporal_error: float | None
    faceless: float | None


SCORE_NAMES = tuple(field.name for field in dataclasses.fields(Scores))


class Tally:
    """The figures of one codec on one clip, gathered frame by frame in order."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {name: [] for name in SCORE_NAMES}
        self._last: tuple[int, Picture, Picture] | None = None

    def add(self, name: str, values: list[float]) -> None:
        """Add values of one metric, one for each frame that has it."""
        self._values[name].extend(values)

    def add_changes(self, positions: list[int], frames_NSS3: Frames, sources_NSS3: Frames) -> None:
        """Add the temporal errors of frames whose predecessor was scored too."""
        for position, picture, source in zip(positions, frames_NSS3, sources_NSS3, strict=True):
            if self._last is not None and self._last[0] == position - 1:
                self.add("temporal_error", [temporal_error(self._last[1], picture, self._last[2], source)])
            self._last = (position, picture, source)

    def scores(self) -> Scores:
        """Return the means.

        Raises:
            ValueError: no frame was added.
        """
        means = {name: float(np.mean(values)) if values else None for name, values in self._values.items()}
        if means["psnr_db"] is None or means["l1"] is None or means["lpips_alex"] is None:
            raise ValueError("no frame was scored")
        return Scores(**means)  # type: ignore[arg-type]


class Bench:
    """The metrics that need networks, on one device.

    Args:
        lpips: the metric with its weights.
        detector: finds landmarks; None leaves out AKD and the regions.
    """

    def __init__(self, lpips: LpipsAlex, detector: LandmarkDetector | None) -> None:
        self.lpips = lpips
        self.detector = detector

    def look(self, frames_NSS3: Frames, faces: list[Landmarks] | None = None) -> Look:
        """Look at pictures; ``faces`` are their landmarks where they are known already."""
        if faces is None and self.detector is not None:
            faces = self.detector.detect(frames_NSS3)
        return Look(frames_NSS3, self.lpips.features(self._images(frames_NSS3)), faces)

    def compare(self, tally: Tally, positions: list[int], source: Look, received: Look) -> None:
        """Add the figures of some frames to a tally.

        Args:
            tally: takes the figures.
            positions: of the frames in the clip, rising from call to call.
            source: what was sent.
            received: what came out.
        """
        squared_N = mean_squared_error(source.frames_NSS3, received.frames_NSS3)
        tally.add("psnr_db", psnr_db(squared_N).tolist())
        tally.add("l1", mean_absolute_error(source.frames_NSS3, received.frames_NSS3).tolist())
        tally.add("lpips_alex", self.lpips.distance(source.features, received.features).tolist())
        tally.add_changes(positions, received.frames_NSS3, source.frames_NSS3)
        if source.faces is not None and received.faces is not None:
            self._compare_faces(tally, source, received, source.faces, received.faces)

    def _compare_faces(
        self, tally: Tally, source: Look, received: Look, source_faces: list[Landmarks], faces: list[Landmarks]
    ) -> None:
        with_face = [index for index, found in enumerate(source_faces) if len(found)]
        if not with_face:
            return
        largest = [source_faces[index][0] for index in with_face]
        distances = [keypoint_distance(mine, faces[index]) for mine, index in zip(largest, with_face, strict=True)]
        tally.add("akd", [distance for distance in distances if distance is not None])
        tally.add("faceless", [float(distance is None) for distance in distances])
        source_NCHW = self._images(source.frames_NSS3[with_face])
        received_NCHW = self._images(received.frames_NSS3[with_face])
        for name, box_of, size in (("mouth_lpips", mouth_box, MOUTH_SIZE), ("eyes_lpips", eyes_box, EYES_SIZE)):
            boxes = [box_of(landmarks_52) for landmarks_52 in largest]
            a = self.lpips.features(cut(source_NCHW, boxes, size))
            b = self.lpips.features(cut(received_NCHW, boxes, size))
            tally.add(name, self.lpips.distance(a, b).tolist())

    def _images(self, frames_NSS3: Frames) -> Tensor:
        frames = torch.from_numpy(np.ascontiguousarray(frames_NSS3)).to(self.lpips.device)
        return frames.permute(0, 3, 1, 2).float() / 255
