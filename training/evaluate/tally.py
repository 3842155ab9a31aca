"""Evaluation, metrics of a clip: figures gathered frame by frame, and their means.

    figures of frames -> Tally -> Scores;  features of pictures -> Tally -> two sets for FID

Shape legend: N pictures, S height and width, D features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluate.clips import Frames, Picture
from training.evaluate.metrics.fid import Features
from training.evaluate.metrics.pixels import flicker, temporal_error
from training.evaluate.metrics.vmaf import Vmaf, luma


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the scored frames of a clip; None where nothing could be measured, or nothing was asked for.

    Attributes:
        psnr_db: mean of the frames' PSNR, dB.
        l1: mean absolute difference, steps of 0 to 255.
        lpips_alex: LPIPS-Alex of the whole picture.
        akd: mean distance of MTCNN's landmarks from the source's, pixels.
        mouth_lpips: LPIPS-Alex of the region around the source's mouth.
        eyes_lpips: LPIPS-Alex of the region around the source's eyes.
        mouth_psnr_db: PSNR of the region around the source's mouth, dB.
        eyes_psnr_db: PSNR of the region around the source's eyes, dB.
        temporal_error: mean absolute difference of frame-to-frame changes, steps of 0 to 255.
        flicker: the temporal error of the pixels where the source rests, steps of 0 to 255.
        faceless: share of frames in which no face was found though the source has one.
        ssim: structural similarity, up to 1.
        lpips_vgg: LPIPS-VGG of the whole picture.
        dists: DISTS of the whole picture.
        identity_similarity: cosine of the face's embedding and the source's.
        body_akd_01: mean distance of body keypoints that both have with a confidence of 0.1, pixels.
        body_mkr_01: share of the source's body keypoints that are missing, at a confidence of 0.1.
        body_akd_05: the same at 0.5.
        body_mkr_05: the same at 0.5.
        vmaf: mean of the frames' VMAF, 0 to 100.
    """

    psnr_db: float
    l1: float
    lpips_alex: float
    akd: float | None
    mouth_lpips: float | None
    eyes_lpips: float | None
    mouth_psnr_db: float | None
    eyes_psnr_db: float | None
    temporal_error: float | None
    flicker: float | None
    faceless: float | None
    ssim: float | None
    lpips_vgg: float | None
    dists: float | None
    identity_similarity: float | None
    body_akd_01: float | None
    body_mkr_01: float | None
    body_akd_05: float | None
    body_mkr_05: float | None
    vmaf: float | None


SCORE_NAMES = tuple(field.name for field in dataclasses.fields(Scores))
HIGHER_IS_BETTER = frozenset({"psnr_db", "mouth_psnr_db", "eyes_psnr_db", "ssim", "identity_similarity", "vmaf"})


class Tally:
    """The figures of one codec on one clip, gathered frame by frame in order."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {name: [] for name in SCORE_NAMES}
        self._last: tuple[int, Picture, Picture] | None = None
        self._features: list[tuple[Features, Features]] = []
        self._luma: list[tuple[Frames, Frames]] = []
        self._vmaf: Vmaf | None = None
        self.num_frames = 0

    def add(self, name: str, values: Sequence[float | None]) -> None:
        """Add values of one metric, one for each frame; None where a frame has none."""
        self._values[name].extend(value for value in values if value is not None)

    def add_changes(self, positions: list[int], frames_NSS3: Frames, sources_NSS3: Frames) -> None:
        """Add what changed in frames whose predecessor was scored too."""
        for position, picture, source in zip(positions, frames_NSS3, sources_NSS3, strict=True):
            if self._last is not None and self._last[0] == position - 1:
                _, before, source_before = self._last
                self.add("temporal_error", [temporal_error(before, picture, source_before, source)])
                self.add("flicker", [flicker(before, picture, source_before, source)])
            self._last = (position, picture, source)

    def add_features(self, source_D: Features, received_D: Features) -> None:
        """Add a picture's and its source's features for FID."""
        self._features.append((source_D, received_D))

    def add_luma(self, vmaf: Vmaf, sources_NSS3: Frames, frames_NSS3: Frames) -> None:
        """Keep pictures for VMAF, which is measured over all of them in ``scores``."""
        self._vmaf = vmaf
        self._luma.append((luma(sources_NSS3), luma(frames_NSS3)))

    def feature_sets(self) -> Features | None:
        """Return the features of all sources and of all pictures, (2, N, D); None when there are none."""
        return np.array(self._features, dtype=np.float32).swapaxes(0, 1) if self._features else None

    def scores(self) -> Scores:
        """Return the means.

        Raises:
            ValueError: no frame was added.
            TrainingError: VMAF's program fails.
        """
        means = {name: float(np.mean(values)) if values else None for name, values in self._values.items()}
        if means["psnr_db"] is None or means["l1"] is None or means["lpips_alex"] is None:
            raise ValueError("no frame was scored")
        if self._vmaf is not None:
            sources, received = zip(*self._luma, strict=True)
            means["vmaf"] = self._vmaf.score(np.concatenate(sources), np.concatenate(received))
        return Scores(**means)  # type: ignore[arg-type]
