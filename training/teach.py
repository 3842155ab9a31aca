"""Teach what labels can teach, before pictures are rebuilt: keypoint detector and matte network, on small pictures.

    frames.npy, landmarks.npy, mattes.npy -> turned, moved, recoloured pictures -> detector, matte network -> weights

A picture of this costs about a twenty-fifth of one that is rebuilt at 256x256 (0.27 s for 32 of them, 0.9 s for 4, on
two CPU cores): detector and matte see 64x64 and 128x128 pixels, and nothing else runs. Strengths, which have no label,
are held where they were. The labels come from ``training.landmarks`` or, with shoulders and mattes, from
``tools/label_people.py``.

Shape legend: B batch, F frames, L landmarks, C channels or (x, y), H height, W width.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.config import compact_256
from codec.errors import ConfigError, TrainingError
from codec.model.generator import Generator
from codec.model.grid import cell_centres, resize, sample
from codec.model.weights import load_weights, save_weights
from codec.structs import Keypoints
from training.config import TrainConfig
from training.dataset import FrameStore, Points
from training.jitter import MIRRORED
from training.losses import landmark_loss
from training.optimiser import AverageWeights
from training.sampler import Sampler

PICTURE_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class TeachConfig:
    """How detector and matte network are taught."""

    steps: int = 8000
    """Steps."""
    batch_size: int = 32
    """Pictures a step."""
    matte_batch_size: int = 8
    """How many of them the matte network sees."""
    learning_rate: float = 6e-4
    """Adam's step size at the start; it falls to nothing by a cosine."""
    turn: float = 0.15
    """Standard deviation of the turn of a picture, radians."""
    scale: float = 0.12
    """Standard deviation of the logarithm of its scale."""
    shift: float = 0.10
    """Standard deviation of its shift, in half widths."""
    strength: float = 2.0
    """Weight of the distance of strengths from those of before."""
    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a field is out of range.
        """
        if not 1 <= self.matte_batch_size <= self.batch_size or self.steps < 1:
            raise ConfigError(
                f"steps is {self.steps}, batch_size {self.batch_size}, matte_batch_size {self.matte_batch_size}; "
                "they must be positive, the last at most the one before"
            )


@dataclass(frozen=True, slots=True)
class Lesson:
    """Pictures with what is to be learned of them.

    Attributes:
        images_BCHW: (B, 3, S, S) in [0, 1].
        landmarks_BLC: in [-1, 1], NaN where unknown.
        mattes_BCHW: (B, 1, S, S) in [0, 1], or None.
    """

    images_BCHW: Tensor
    landmarks_BLC: Tensor
    mattes_BCHW: Tensor | None


class Lessons:
    """Draws pictures of a store, small, with their labels.

    Args:
        store: with landmarks.
        config: sizes, augmentation and seed.

    Raises:
        TrainingError: the store has no landmarks.
    """

    def __init__(self, store: FrameStore, config: TeachConfig) -> None:
        if store.landmarks_FLC is None:
            raise TrainingError(f"{store.folder} has no landmarks; make them with `python -m training landmarks`")
        self.config = config
        self.landmarks_FLC: Points = store.landmarks_FLC
        self.mattes_FHW = store.mattes_FHW
        self.sampler = Sampler(store.clips, TrainConfig(steps=1))
        self.frames_FHWC = shrink(store.frames, PICTURE_SIZE)

    def draw(self, step: int) -> Lesson:
        """Return the lesson of a step."""
        config, random = self.config, np.random.default_rng((self.config.seed, step, 2))
        frames_B = self._frames(random)
        images_BCHW = torch.from_numpy(self.frames_FHWC[frames_B]).permute(0, 3, 1, 2).float() / 255
        matrix_BCC, shift_BC = self._motion(random)
        grid_BHWC = (
            cell_centres(PICTURE_SIZE, PICTURE_SIZE, images_BCHW)[None] @ matrix_BCC[:, None] + shift_BC[:, None, None]
        )
        mattes_BCHW = None
        if self.mattes_FHW is not None:
            some = config.matte_batch_size
            mattes_BCHW = torch.from_numpy(self.mattes_FHW[frames_B[:some]])[:, None].float() / 255
            mattes_BCHW = sample(resize(mattes_BCHW, PICTURE_SIZE), grid_BHWC[:some])
        points_BLC = torch.from_numpy(self.landmarks_FLC[frames_B])
        moved_BLC = (points_BLC - shift_BC[:, None]) @ torch.linalg.inv(matrix_BCC)
        mirrored_B11 = (torch.linalg.det(matrix_BCC) < 0)[:, None, None]
        moved_BLC = torch.where(mirrored_B11, moved_BLC[:, list(MIRRORED[: moved_BLC.shape[1]])], moved_BLC)
        colours = torch.from_numpy(random.normal(0, 1, (3, config.batch_size, 1, 1, 1))).float()
        images_BCHW = recolour(sample(images_BCHW, grid_BHWC), *colours).contiguous(memory_format=torch.channels_last)
        return Lesson(images_BCHW, moved_BLC, mattes_BCHW)

    def _frames(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        sampler = self.sampler
        clips_B = random.choice(len(sampler.starts), size=self.config.batch_size, p=sampler.weights)
        return random.integers(sampler.starts[clips_B], sampler.stops[clips_B])

    def _motion(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw where pictures are sampled: what is at ``p`` afterwards was at ``p @ matrix + shift``."""
        config, batch = self.config, self.config.batch_size
        turn_B, scale_B = random.normal(0, config.turn, batch), np.exp(random.normal(0, config.scale, batch))
        sign_B = np.where(random.random(batch) < 0.5, -1.0, 1.0)
        cos_B, sin_B = scale_B * np.cos(turn_B), scale_B * np.sin(turn_B)
        rows = [np.stack([sign_B * cos_B, sign_B * sin_B], -1), np.stack([-sin_B, cos_B], -1)]
        matrix_BCC = torch.from_numpy(np.stack(rows, axis=1)).float()
        return matrix_BCC, torch.from_numpy(random.normal(0, config.shift, (batch, 2))).float()


def shrink(frames_FHWC: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Return frames as small pictures, (F, size, size, 3), in memory."""
    small = []
    for start in range(0, len(frames_FHWC), 256):
        part = torch.from_numpy(frames_FHWC[start : start + 256]).permute(0, 3, 1, 2).float()
        small.append(resize(part, size).round().permute(0, 2, 3, 1).to(torch.uint8).numpy())
    return np.concatenate(small)


def recolour(images_BCHW: Tensor, light_B111: Tensor, contrast_B111: Tensor, tint_B111: Tensor) -> Tensor:
    """Change light, contrast and tint of pictures, each by a normal draw."""
    tint_BC11 = torch.cat((0.05 * tint_B111, torch.zeros_like(tint_B111), -0.05 * tint_B111), dim=1)
    mean_B111 = images_BCHW.mean((1, 2, 3), keepdim=True)
    changed_BCHW = (images_BCHW - mean_B111) * torch.exp(0.15 * contrast_B111) + mean_B111
    return (changed_BCHW * torch.exp(0.15 * light_B111) + tint_BC11).clamp(0, 1)


class Teacher:
    """Detector and matte network with their optimiser.

    Args:
        generator: whose they are; changed.
        config: how they learn.
    """

    def __init__(self, generator: Generator, config: TeachConfig) -> None:
        self.generator, self.config = generator, config
        generator.to(memory_format=torch.channels_last)  # three times as fast on a CPU
        self.before = copy.deepcopy(generator.detector).eval().requires_grad_(False)
        generator.requires_grad_(False)
        self.taught: list[nn.Module] = [generator.detector]
        if generator.config.still_background:
            self.taught.append(generator.matte_network)
        for network in self.taught:
            network.requires_grad_(True).train()
        parameters = [parameter for network in self.taught for parameter in network.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
        self.average = AverageWeights(generator, 100.0)

    def step(self, lesson: Lesson, step: int) -> dict[str, float]:
        """Learn from a lesson; return its figures."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.config.steps))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = self.losses(lesson)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(float(total.detach())):
            raise TrainingError(f"loss is not finite at step {step}")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_([p for group in self.optimiser.param_groups for p in group["params"]], 1.0)
        self.optimiser.step()
        self.average.update(step)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def losses(self, lesson: Lesson) -> dict[str, Tensor]:
        """Compare keypoints with landmarks, strengths with those of before, mattes with their labels."""
        found, wanted_BLC = self.generator.detect(lesson.images_BCHW), lesson.landmarks_BLC
        num_known = float(torch.isfinite(wanted_BLC).sum())
        with torch.no_grad():
            strengths_BK = self.before(lesson.images_BCHW).strengths_BK
        losses = {
            "landmarks": 20 * landmark_loss(found.locations_BKC.float(), wanted_BLC, num_known),
            "strengths": self.config.strength * (found.strengths_BK - strengths_BK).abs().mean(),
        }
        if lesson.mattes_BCHW is not None and len(self.taught) > 1:
            losses["matte"] = self.matte_loss(found, lesson)
        return losses

    def matte_loss(self, found: Keypoints, lesson: Lesson) -> Tensor:
        """Binary cross-entropy of the mattes of some of the pictures."""
        assert lesson.mattes_BCHW is not None
        some = len(lesson.mattes_BCHW)
        keypoints = Keypoints(found.locations_BKC[:some].detach(), found.strengths_BK[:some].detach())
        logits_BCHW = self.generator.matte_network.logits(keypoints, lesson.images_BCHW[:some])
        return F.binary_cross_entropy_with_logits(logits_BCHW, lesson.mattes_BCHW.clamp(0, 1))


def teach(store: FrameStore, init: Path | None, out: Path, config: TeachConfig) -> Iterator[dict[str, float]]:
    """Teach weights and save them; gives the mean figures of each hundred steps.

    Args:
        store: pictures and labels.
        init: weights to start from; None begins ``compact-256`` anew.
        out: weights to write.
        config: how they learn.

    Raises:
        TrainingError: the store has no landmarks, or the loss is not finite.
        WeightsError: the weights cannot be used.
    """
    torch.manual_seed(config.seed)
    generator = Generator(compact_256()) if init is None else load_weights(init)[0]
    lessons, teacher = Lessons(store, config), Teacher(generator, config)
    figures: list[dict[str, float]] = []
    for step in range(config.steps):
        figures.append(teacher.step(lessons.draw(step), step))
        if len(figures) == 100 or step == config.steps - 1:
            yield {"step": step + 1} | {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}
            figures = []
    provenance: dict[str, Any] = {"taught": config.steps}
    if init is not None:
        provenance["init_sha256"] = hashlib.sha256(init.read_bytes()).hexdigest()
    save_weights(out, teacher.average.state, generator.config, provenance)
