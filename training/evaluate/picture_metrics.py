"""Evaluation, metrics of single pictures that take their time: each keeps of a picture what it needs, and compares.

    pictures -> PictureMetric.view -> one view a picture;  view of the source, view of a picture -> figures

A view is kept with its picture, so that a source or a reference is looked at once however many pictures it is compared
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.evaluate.metrics.body import THRESHOLDS, Body, BodyDetector, keypoint_errors
from training.evaluate.metrics.fid import Features, Inception
from training.evaluate.metrics.identity import Embedding, Identity, similarity
from training.evaluate.metrics.landmarks import Landmarks
from training.evaluate.metrics.weights import WeightsSource

Frames = npt.NDArray[np.uint8]
Figures = dict[str, float | None]
Faces = list[Landmarks]


class PictureMetric(Protocol):
    """A metric of single pictures."""

    @property
    def name(self) -> str:
        """Name by which it is asked for."""

    @property
    def source(self) -> WeightsSource:
        """Where its weights came from."""

    def view(self, frames_NSS3: Frames, faces: Faces | None) -> Sequence[Any]:
        """Return what the metric keeps of each picture."""

    def compare(self, source: Any, received: Any) -> Figures:
        """Return the figures of one picture, by the names of ``Scores``."""


class DeepMetric(Protocol):
    """LPIPS or DISTS."""

    source: WeightsSource

    def features(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the taps of a network."""

    def distance(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
        """Return the distance of each pair, (B,)."""


class DeepDistance:
    """LPIPS-VGG and DISTS.

    Args:
        name: of the figure.
        metric: with its weights.
    """

    def __init__(self, name: str, metric: DeepMetric) -> None:
        self.name, self.source, self._metric = name, metric.source, metric

    def view(self, frames_NSS3: Frames, faces: Faces | None) -> list[tuple[Tensor, ...]]:
        """Return the taps of each picture."""
        return [
            self._metric.features(image_tensor(frames_NSS3[index : index + 1])) for index in range(len(frames_NSS3))
        ]

    def compare(self, source: tuple[Tensor, ...], received: tuple[Tensor, ...]) -> Figures:
        """Return the distance."""
        return {self.name: float(self._metric.distance(source, received))}


class IdentitySimilarity:
    """The cosine of the largest face's embedding and the source's; none where either has no face."""

    name = "identity"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.source = identity.source

    def view(self, frames_NSS3: Frames, faces: Faces | None) -> list[Embedding | None]:
        """Return the embedding of each picture's largest face."""
        if faces is None:
            return [None] * len(frames_NSS3)
        return [
            self._identity.embedding(picture, found[0]) if len(found) else None
            for picture, found in zip(frames_NSS3, faces, strict=True)
        ]

    def compare(self, source: Embedding | None, received: Embedding | None) -> Figures:
        """Return the similarity."""
        return {"identity_similarity": None if source is None or received is None else similarity(source, received)}


class BodyErrors:
    """AKD and MKR of body keypoints at both thresholds."""

    name = "body"

    def __init__(self, detector: BodyDetector) -> None:
        self._detector = detector
        self.source = detector.source

    def view(self, frames_NSS3: Frames, faces: Faces | None) -> list[Body]:
        """Return the body in each picture."""
        return self._detector.detect(frames_NSS3)

    def compare(self, source: Body, received: Body) -> Figures:
        """Return AKD and MKR."""
        figures: Figures = {}
        for threshold in THRESHOLDS:
            errors, suffix = keypoint_errors(source, received, threshold), f"{threshold:.1f}".replace(".", "")
            figures |= {f"body_akd_{suffix}": errors.akd, f"body_mkr_{suffix}": errors.mkr}
        return figures


class InceptionFeatures:
    """The features of FID, which compares sets and gives no figure of a picture."""

    name = "fid"

    def __init__(self, inception: Inception) -> None:
        self._inception = inception
        self.source = inception.source

    def view(self, frames_NSS3: Frames, faces: Faces | None) -> list[Features]:
        """Return the features of each picture."""
        return list(self._inception.features(frames_NSS3))

    def compare(self, source: Features, received: Features) -> Figures:
        """Return no figure."""
        return {}


def image_tensor(frames_NSS3: Frames) -> Tensor:
    """Return pictures as a tensor in [0, 1], (N, 3, S, S), on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(frames_NSS3)).permute(0, 3, 1, 2).float() / 255
