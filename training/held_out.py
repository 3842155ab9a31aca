"""PSNR and LPIPS on people who are not trained on, with the averaged weights, as the run goes.

    held-out store -> HeldOut -> references evenly spaced, other frames rebuilt -> means over clips

A quick look, not the evaluation that is reported: few frames of few clips, and no bitstream but its rounding
(``training.evaluate`` drives the shipped encoder and decoder). Shape legend: N pictures, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from codec.errors import TrainingError
from codec.model.generator import Generator
from codec.model.grid import resize
from training.dataset import Clip, FrameStore
from training.reconstruction import Reconstruction

NUM_CLIPS = 24
NUM_FRAMES = 4
NUM_REFERENCES = 3


Features = tuple[Tensor, ...]


class Lpips(Protocol):
    """What the metric is asked; ``training.evaluate`` has it."""

    def features(self, image_BCHW: Tensor) -> Features:
        """Return what is compared of pictures in [0, 1]."""

    def distance(self, a: Features, b: Features) -> Tensor:
        """Return the distance of each pair, (B,)."""


class HeldOut:
    """Measures a model on a held-out store.

    Args:
        store: frames of people who are not trained on.
        lpips: the metric.
        picture_size: height and width at which the model works.
        device: to compute on.

    Raises:
        TrainingError: no clip is long enough.
    """

    def __init__(self, store: FrameStore, lpips: Lpips, picture_size: int, device: torch.device) -> None:
        self.store, self.lpips, self.picture_size, self.device = store, lpips, picture_size, device
        clips = [clip for clip in store.clips if clip.stop - clip.start > NUM_REFERENCES]
        if not clips:
            raise TrainingError(f"{store.folder}: no clip has the {NUM_REFERENCES + 1} frames that a measurement needs")
        self.clips = [clips[index] for index in sorted({i * len(clips) // NUM_CLIPS for i in range(NUM_CLIPS)})]

    @torch.no_grad()
    def measure(self, model: Reconstruction, weights: dict[str, Tensor]) -> dict[str, float]:
        """Return the means over clips of PSNR and LPIPS, and the PSNR of the nearest reference repeated."""
        with borrowed(model.generator, weights):
            rows = [self.measure_clip(model, clip) for clip in self.clips]
        psnr, lpips, frozen = np.mean(rows, axis=0).tolist()
        return {"held_out_psnr_db": psnr, "held_out_lpips": lpips, "held_out_frozen_psnr_db": frozen}

    def measure_clip(self, model: Reconstruction, clip: Clip) -> tuple[float, float, float]:
        """Return PSNR (dB) and LPIPS of a clip's rebuilt frames, and the PSNR of the best reference repeated."""
        references, scored = positions(clip)
        references_NCHW, source_NCHW = self.pictures(references), self.pictures(scored)
        shown_BRCHW = references_NCHW.expand(len(scored), -1, -1, -1, -1)
        made_NCHW = model(source_NCHW, shown_BRCHW, None, None).generated.image_BCHW.float().clamp(0, 1)
        frozen_N = torch.stack([psnr(source_NCHW, picture_CHW) for picture_CHW in references_NCHW]).amax(0)
        distance_N = self.lpips.distance(self.lpips.features(made_NCHW), self.lpips.features(source_NCHW))
        return float(psnr(made_NCHW, source_NCHW).mean()), float(distance_N.mean()), float(frozen_N.mean())

    def pictures(self, frames: list[int]) -> Tensor:
        """Return frames of the store in [0, 1], (N, 3, S, S)."""
        bytes_NHWC = torch.from_numpy(self.store.frames[frames]).to(self.device)
        images_NCHW = bytes_NHWC.permute(0, 3, 1, 2).float() / 255
        return resize(images_NCHW, self.picture_size)


def positions(clip: Clip) -> tuple[list[int], list[int]]:
    """Return a clip's references, evenly spaced from its first frame on, and frames to score, evenly spaced too."""
    length = clip.stop - clip.start
    references = [clip.start + index * length // NUM_REFERENCES for index in range(NUM_REFERENCES)]
    others = [frame for frame in range(clip.start, clip.stop) if frame not in references]
    chosen = sorted({(2 * index + 1) * len(others) // (2 * NUM_FRAMES) for index in range(NUM_FRAMES)})
    return references, [others[index] for index in chosen]


def psnr(image_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    """Return the PSNR of each picture in [0, 1], dB."""
    error_B = (image_BCHW.float().clamp(0, 1) - target_BCHW).square().mean((1, 2, 3)).clamp(min=1e-8)
    return -10 * error_B.log10()


@contextmanager
def borrowed(generator: Generator, weights: dict[str, Tensor]) -> Iterator[None]:
    """Let a generator have other weights, in evaluation mode, for a while."""
    own = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    training = generator.training
    generator.load_state_dict(weights)
    generator.eval()
    try:
        yield
    finally:
        generator.load_state_dict(own)
        generator.train(training)
