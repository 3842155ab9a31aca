"""Evaluation, metrics together: compare pictures with their source, batch by batch.

    source pictures -> Bench.look -> Look;  Look of a picture, Look of its source -> Bench.compare -> Tally

A ``Look`` holds all that the metrics need of a picture, so that a source or a reference is looked at once however many
pictures it is compared with. Slow metrics look when first asked, and on one scored frame out of ``slow_every`` alone.
Shape legend: N pictures, S height and width, 5 landmarks, 2 = (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from training.evaluate.clips import Frames
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
from training.evaluate.metrics.lpips import Features, Lpips
from training.evaluate.metrics.pixels import PEAK, mean_absolute_error, mean_squared_error, psnr_db
from training.evaluate.metrics.ssim import ssim
from training.evaluate.metrics.vmaf import Vmaf
from training.evaluate.metrics.weights import WeightsSource
from training.evaluate.picture_metrics import InceptionFeatures, PictureMetric, image_tensor
from training.evaluate.tally import Tally

Views = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Pictures as the metrics see them.

    Attributes:
        frames_NSS3: the pictures.
        features: LPIPS-Alex taps of the whole pictures.
        faces: landmarks of each picture's faces, the largest first; None where they are not measured.
        views: of each picture by slow metrics, as far as they have looked.
    """

    frames_NSS3: Frames
    features: Features
    faces: list[Landmarks] | None
    views: list[Views]

    def __getitem__(self, index: list[int]) -> Look:
        """Return some of the pictures, in the order asked for; what is seen of them is seen of these too."""
        faces = None if self.faces is None else [self.faces[position] for position in index]
        views = [self.views[position] for position in index]
        return Look(self.frames_NSS3[index], tuple(tap[index] for tap in self.features), faces, views)


class Bench:
    """The metrics, on one device.

    Args:
        lpips: LPIPS-Alex with its weights.
        detector: finds landmarks; None leaves out AKD, the regions and identity.
        slow: metrics of single pictures that take their time.
        slow_every: they look at one scored frame out of this many.
        vmaf: measured over all scored frames of a clip; None leaves it out.
        with_ssim: measure SSIM.
    """

    def __init__(
        self,
        lpips: Lpips,
        detector: LandmarkDetector | None,
        slow: Sequence[PictureMetric] = (),
        slow_every: int = 1,
        vmaf: Vmaf | None = None,
        with_ssim: bool = False,
    ) -> None:
        self.lpips, self.detector = lpips, detector
        self.slow, self.slow_every, self.vmaf, self.with_ssim = tuple(slow), slow_every, vmaf, with_ssim

    @property
    def sources(self) -> dict[str, WeightsSource]:
        """Where the weights of each metric came from, by its name."""
        sources = {"lpips_alex": self.lpips.source, **{metric.name: metric.source for metric in self.slow}}
        return sources if self.vmaf is None else {**sources, "vmaf": self.vmaf.source}

    def dependencies(self) -> dict[str, Any]:
        """Return all that figures depend on besides pictures and code, as JSON values."""
        return {
            "weights": {name: source.sha256 for name, source in self.sources.items()},
            "landmarks": self.detector is not None,
            "slow_every": self.slow_every,
            "ssim": self.with_ssim,
        }

    def look(self, frames_NSS3: Frames, faces: list[Landmarks] | None = None) -> Look:
        """Look at pictures; ``faces`` are their landmarks where they are known already."""
        if faces is None and self.detector is not None:
            faces = self.detector.detect(frames_NSS3)
        views: list[Views] = [{} for _ in frames_NSS3]
        return Look(frames_NSS3, self.lpips.features(self._images(frames_NSS3)), faces, views)

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
        if self.with_ssim:
            tally.add("ssim", ssim(source.frames_NSS3, received.frames_NSS3).tolist())
        if self.vmaf is not None:
            tally.add_luma(self.vmaf, source.frames_NSS3, received.frames_NSS3)
        if source.faces is not None and received.faces is not None:
            self._compare_faces(tally, source, received, source.faces, received.faces)
        self._compare_slowly(tally, source, received)
        tally.num_frames += len(positions)

    def _compare_slowly(self, tally: Tally, source: Look, received: Look) -> None:
        first = -tally.num_frames % self.slow_every
        chosen = list(range(first, len(source.frames_NSS3), self.slow_every))
        for metric in self.slow if chosen else ():
            pairs = list(zip(_views(metric, source, chosen), _views(metric, received, chosen), strict=True))
            for sent, came in pairs:
                for name, value in metric.compare(sent, came).items():
                    tally.add(name, [value])
                if isinstance(metric, InceptionFeatures):
                    tally.add_features(sent, came)

    def _compare_faces(
        self, tally: Tally, source: Look, received: Look, source_faces: list[Landmarks], faces: list[Landmarks]
    ) -> None:
        with_face = [index for index, found in enumerate(source_faces) if len(found)]
        if not with_face:
            return
        largest = [source_faces[index][0] for index in with_face]
        distances = [keypoint_distance(mine, faces[index]) for mine, index in zip(largest, with_face, strict=True)]
        tally.add("akd", distances)
        tally.add("faceless", [float(distance is None) for distance in distances])
        source_NCHW = self._images(source.frames_NSS3[with_face])
        received_NCHW = self._images(received.frames_NSS3[with_face])
        for region, box_of, size in (("mouth", mouth_box, MOUTH_SIZE), ("eyes", eyes_box, EYES_SIZE)):
            boxes = [box_of(landmarks_52) for landmarks_52 in largest]
            sent_NCHW, came_NCHW = cut(source_NCHW, boxes, size), cut(received_NCHW, boxes, size)
            distance_N = self.lpips.distance(self.lpips.features(sent_NCHW), self.lpips.features(came_NCHW))
            squared_N = (sent_NCHW - came_NCHW).square().mean(dim=(1, 2, 3)).double().cpu().numpy() * PEAK**2
            tally.add(f"{region}_lpips", distance_N.tolist())
            tally.add(f"{region}_psnr_db", psnr_db(squared_N).tolist())

    def _images(self, frames_NSS3: Frames) -> Tensor:
        return image_tensor(frames_NSS3).to(self.lpips.device)


def _views(metric: PictureMetric, look: Look, chosen: list[int]) -> list[Any]:
    """Return a metric's views of some pictures, looking at those that it has not seen."""
    unseen = [index for index in chosen if metric.name not in look.views[index]]
    if unseen:
        faces = None if look.faces is None else [look.faces[index] for index in unseen]
        for index, view in zip(unseen, metric.view(look.frames_NSS3[unseen], faces), strict=True):
            look.views[index][metric.name] = view
    return [look.views[index][metric.name] for index in chosen]
