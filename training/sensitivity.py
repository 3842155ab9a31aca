"""How much the picture changes with each value of a frame: what a quantiser of keypoints should be fine in.

    clips -> references, driving frames -> each value moved a little -> pictures -> LPIPS features, pixels -> metric

Near a picture both distances are squares of a linear map of what was moved (a Gauss-Newton approximation), so that
their means over frames are two symmetric matrices: the distance that a small error e of the values costs is e' M e. The
values are told in steps of the bitstream's grid. Shape legend: N = 3 K values, B batch, P entries of all features,
C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from codec import Model
from codec.bitstream.priors import GRID_BITS, Floats
from codec.frames import image_from_rgb
from codec.model.alignment import Aligner
from codec.model.generator import FACE_KEYPOINTS, ReferenceFeatures, ReferenceMemory
from codec.structs import Keypoints
from training.evaluate.clips import read_clip, reference_positions
from training.evaluate.metrics.lpips import Lpips
from training.losses import face_weight

LOCATION_NUDGE = 1 / 256
STRENGTH_NUDGE = 1 / 32
FACE_EMPHASIS = 4.0
LPIPS_SHARE = 0.75
"""Of the metric; the rest is that of pixels, which keeps lips and lids exact."""
BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivity:
    """What small errors of a frame's values cost, relative to what the picture misses anyway.

    Attributes:
        lpips_NN: of LPIPS, in shares of its mean.
        pixels_NN: of squared error, more at lips and lids, in shares of its mean.
    """

    lpips_NN: Floats
    pixels_NN: Floats

    @property
    def metric_NN(self) -> Floats:  # noqa: N802
        """Both, mixed by ``LPIPS_SHARE``."""
        mixed: Floats = LPIPS_SHARE * self.lpips_NN + (1 - LPIPS_SHARE) * self.pixels_NN
        return mixed


@torch.inference_mode()
def find_sensitivity(paths: list[Path], model: Model, lpips: Lpips, frames_per_clip: int = 2) -> Sensitivity:
    """Measure it on clips.

    Args:
        paths: talking heads that the model may learn from.
        model: the networks.
        lpips: the metric.
        frames_per_clip: driving frames, evenly spaced.
    """
    size = 3 * model.config.num_keypoints
    lpips_NN, pixels_NN, missed = np.zeros((size, size)), np.zeros((size, size)), np.zeros(2)
    for path in track(paths, "sensitivity"):
        for source_BCHW, features in scenes(path, model, frames_per_clip):
            keypoints = model.generator.detect(source_BCHW)
            memory = model.generator.combine(features)
            if model.config.can_align:
                aligned = Aligner(model.generator, features).align(keypoints, source_BCHW)
                alone = model.generator.combine([features[aligned.reference]])
                keypoints, memory = aligned.keypoints, memory.preferring(aligned.reference, alone)
            pictures = torch.cat(list(pictures_of(nudged(keypoints), memory, model)))
            made_BCHW = model.generator(keypoints, memory).image_BCHW.clamp(0, 1)
            step_N = nudges(model.config.num_keypoints)
            weight_BCHW = face_weight(keypoints.locations_BKC[:, :FACE_KEYPOINTS], made_BCHW.shape[-1], FACE_EMPHASIS)
            lpips_NN += gram(feature_changes(lpips, pictures, made_BCHW), step_N)
            pixels_NN += gram(
                [((pictures - made_BCHW) * weight_BCHW.sqrt()).flatten(1) / made_BCHW.numel() ** 0.5], step_N
            )
            missed[0] += float(lpips.distance(lpips.features(made_BCHW), lpips.features(source_BCHW)))
            missed[1] += float((weight_BCHW * (made_BCHW - source_BCHW).square()).mean())
    return Sensitivity(lpips_NN / missed[0], pixels_NN / missed[1])


def scenes(path: Path, model: Model, num_frames: int) -> Iterator[tuple[Tensor, list[ReferenceFeatures]]]:
    """Give some frames of a clip, (1, 3, S, S), with one to three of its other frames as references."""
    clip = read_clip(path, model.config.image_size)
    for index in range(num_frames):
        references = reference_positions(len(clip), 1 + (len(clip) + index) % 3)
        others = [position for position in range(len(clip)) if position not in references]
        features = []
        for position in references:
            image_BCHW = image_from_rgb(clip.frames_NSS3[position])
            features.append(model.generator.encode_reference(image_BCHW, model.generator.detect(image_BCHW)))
        driving = others[(2 * index + 1) * len(others) // (2 * num_frames)]
        yield image_from_rgb(clip.frames_NSS3[driving]), features


def nudges(num_keypoints: int) -> Floats:
    """Return how far each value is moved, (N,), in steps of the bitstream's grid."""
    unit_K3 = np.tile([LOCATION_NUDGE / 2, LOCATION_NUDGE / 2, STRENGTH_NUDGE], (num_keypoints, 1))
    return unit_K3.ravel() * (1 << GRID_BITS)


def nudged(keypoints: Keypoints) -> Keypoints:
    """Return a frame's keypoints N times, each time with another value moved."""
    num_keypoints = keypoints.strengths_BK.shape[1]
    steps_NK3 = torch.diag(
        torch.tensor([LOCATION_NUDGE, LOCATION_NUDGE, STRENGTH_NUDGE]).repeat(num_keypoints)
    ).unflatten(1, (num_keypoints, 3))
    return Keypoints(keypoints.locations_BKC + steps_NK3[..., :2], keypoints.strengths_BK + steps_NK3[..., 2])


def pictures_of(keypoints: Keypoints, memory: ReferenceMemory, model: Model) -> Iterator[Tensor]:
    """Give the pictures of many keypoints, some at a time."""
    for start in range(0, len(keypoints.strengths_BK), BATCH):
        part = keypoints[start : start + BATCH]
        yield model.generator(part, memory.expand(len(part.strengths_BK))).image_BCHW.clamp(0, 1)


def feature_changes(lpips: Lpips, pictures_BCHW: Tensor, made_BCHW: Tensor) -> list[Tensor]:
    """Return by how much the features of pictures differ from one's, (N, P) a tap; squares sum to LPIPS."""
    before = lpips.features(made_BCHW)
    changes: list[list[Tensor]] = [[] for _ in before]
    for part_BCHW in pictures_BCHW.split(BATCH):
        for tap, (found, base) in enumerate(zip(lpips.features(part_BCHW), before, strict=True)):
            changes[tap].append(lpips.weighted(found - base, tap).flatten(1))
    return [torch.cat(parts) for parts in changes]


def gram(changes: list[Tensor], step_N: Floats) -> Floats:
    """Return the scalar products of changes with each other, (N, N), for steps of 1."""
    total = sum((change.double() @ change.double().T).numpy() for change in changes)
    products: Floats = total / step_N[:, None] / step_N[None]
    return products
