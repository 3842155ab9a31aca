"""Beside the pictures: what the receiver shows, rebuilt at the sender with the same generator.

    picture, references -> Decoder.generate -> structural_error(picture, generated)

A picture takes about as long as at the receiver (50 to 110 ms on one core of the machines at hand), so it is done now
and then in a thread of its own, never for every frame. The measure is 1 - SSIM (Wang, Bovik, Sheikh and Simoncelli,
"Image Quality Assessment: From Error Visibility to Structural Similarity", 2004) of the luma at half size, over flat
windows: it needs no weights, and on a clip of expressions it goes with LPIPS-Alex at r = 0.88.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from codec import Decoder, Encoder, Model
from codec.bitstream.quantise import quantise
from codec.config import CodecConfig
from codec.face import Picture
from codec.memory import ReferencePictures
from codec.structs import CodedFrame, QuantisedKeypoints

WINDOW = 8
LUMA_RGB = (0.299, 0.587, 0.114)
C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True, slots=True, eq=False)
class Reconstructed:
    """One picture, as the receiver would show it.

    Attributes:
        keypoints: found in the picture.
        error: structural error of what the receiver would show, 0 to 2.
        worst_error: mean of the worst tenth of its windows: a hand before the face is a small part of the picture.
    """

    keypoints: QuantisedKeypoints
    error: float
    worst_error: float


class Reconstructor:
    """The receiver's generator at the sender; any thread may use it, one at a time does.

    Args:
        model: the networks.
    """

    def __init__(self, model: Model) -> None:
        pictures = ReferencePictures(model)
        self._encoder, self._decoder = Encoder(model, pictures=pictures), Decoder(model, pictures)
        self._model = model
        self._lock = threading.Lock()
        self.picture_s: float | None = None
        """What a picture took, seconds, smoothed; None before the first."""

    def reconstruct(self, rgb: Picture, references: Sequence[Picture]) -> Reconstructed:
        """Send a picture to oneself.

        Args:
            rgb: (S, S, 3).
            references: that the receiver holds, at least one.

        Raises:
            ReferenceImageError: there is no reference.
        """
        with self._lock:
            self._decoder.set_references(references)
            self._encoder.set_references(references)
            start_s = time.perf_counter()
            aligned, reference = self._encoder.align(self._encoder.detect(rgb), rgb)
            keypoints = quantise(aligned, self._model.config)
            generated = self._decoder.generate(CodedFrame(0, None, keypoints, reference))
            elapsed_s = time.perf_counter() - start_s
            self.picture_s = elapsed_s if self.picture_s is None else 0.8 * self.picture_s + 0.2 * elapsed_s
        error, worst_error = structural_error(rgb, generated)
        return Reconstructed(keypoints, error, worst_error)

    @property
    def config(self) -> CodecConfig:
        """Of the model."""
        return self._model.config

    def find(self, rgb: Picture) -> QuantisedKeypoints:
        """Return a picture's keypoints alone."""
        with self._lock:
            return quantise(self._encoder.detect(rgb), self._model.config)

    def gain(self, pictures: Sequence[Picture], before: Sequence[Picture], after: Sequence[Picture]) -> float:
        """Return by how much the error of some pictures falls, on average, from one set of references to another."""
        errors = [[self.reconstruct(rgb, references).error for rgb in pictures] for references in (before, after)]
        return float(np.mean(errors[0]) - np.mean(errors[1]))


def structural_error(one: Picture, other: Picture) -> tuple[float, float]:
    """Return 1 - SSIM of two pictures (H, W, 3): the mean of all windows, and of the worst tenth of them."""
    x, y = _half_luma(one), _half_luma(other)
    mean_x, mean_y = _windows(x), _windows(y)
    variance_x, variance_y = _windows(x * x) - mean_x**2, _windows(y * y) - mean_y**2
    covariance = _windows(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    )
    errors = (1 - similarity).flatten().sort(descending=True).values
    return float(errors.mean()), float(errors[: max(1, len(errors) // 10)].mean())


def _half_luma(rgb: Picture) -> torch.Tensor:
    luma_HW = torch.from_numpy(rgb.astype(np.float32) @ np.array(LUMA_RGB, dtype=np.float32) / 255)
    return functional.avg_pool2d(luma_HW[None, None], 2)


def _windows(image_BCHW: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(image_BCHW, WINDOW, stride=WINDOW // 2)
