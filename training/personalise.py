"""Finetune released weights on a minute of one speaker.

    videos -> cropped -> first parts -> frame store -> Trainer -> weights
    last parts, held out -> shipped evaluation of the weights before and after

The keypoint detector stays frozen, but the weights are others all the same: both ends of a call must load them.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table

from codec.errors import ConfigError
from codec.face import FaceDetector
from codec.model.weights import EMBEDDED, choose_device, load_weights
from training.config import RunConfig, TrainConfig
from training.shipped import Figures, measure_weights
from training.speaker import count_frames, find_videos, read_speaker, split_speaker
from training.trainer import Trainer

logger = logging.getLogger(__name__)

REFERENCES = 3
SCORED_FRAMES = 120
SHOWN = (
    ("psnr_db", "PSNR, dB", "{:.2f}"),
    ("lpips_alex", "LPIPS", "{:.4f}"),
    ("mouth_lpips", "mouth LPIPS", "{:.4f}"),
    ("eyes_lpips", "eyes LPIPS", "{:.4f}"),
    ("akd", "AKD, px", "{:.2f}"),
)


@dataclass(frozen=True, kw_only=True)
class PersonaliseCommand:
    """Finetune weights on one speaker: crop, hold the last part out, train minutes, measure before and after."""

    videos: tyro.conf.Positional[tuple[Path, ...]]
    """Video files of one speaker, or folders of them, as a camera gives them."""
    out: Path
    """Folder to write: weights, frames, held-out clips, figures. A run that is there goes on."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """What is trained."""
    weights: Path | None = None
    """Weights to start from (.safetensors with their .json beside them) in place of the embedded ones."""
    minutes: float = 15.0
    """Longest time to train."""
    held_out_share: float = 0.2
    """Share of each video, its end, that is kept from training and measured on."""
    max_seconds: float = 120.0
    """Use the first seconds of each video, at most this many."""
    stride: int = 2
    """Train on every n-th frame; neighbours hardly differ."""
    vgg: Path | None = None
    """Safetensors of VGG convolutions; torchvision's VGG-19 is downloaded without it."""
    loss_weights: Path | None = None
    """Folder with lpips_alex.safetensors; the lpips package's weights are downloaded without it."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    dry_run: bool = False
    """Print the resolved recipe and stop."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        if not 0 < self.held_out_share < 1:
            raise ConfigError(f"held_out_share is {self.held_out_share}; it must lie between 0 and 1")
        for name in ("minutes", "max_seconds", "stride"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive")

    def run(self) -> None:
        """Crop, measure, train, measure."""
        if self.dry_run:
            print(self.config.describe())
            return
        if self.threads:
            torch.set_num_threads(self.threads)
        before = EMBEDDED if self.weights is None else self.weights
        config = fitted(self.config, before)
        frames, clips = self._prepare(config.codec.image_size)
        every = self._every(clips)
        figures = {"before": self._measure(before, clips, "before", every)}
        run = RunConfig(
            frames=frames,
            out=self.out,
            vgg=self.vgg,
            init=before,
            time_limit=60 * self.minutes,
            picture_every=100,
            device=self.device,
        )
        trainer = Trainer(config, run, choose_device(self.device))
        trainer.run()
        carry_priors(before, trainer.weights_path)
        figures["after"] = self._measure(trainer.weights_path, clips, "after", every)
        (self.out / "personalise.json").write_text(json.dumps(figures, indent=2) + "\n")
        Console().print(table(figures))
        print(f"sender and receiver take: --weights {trainer.weights_path}")

    def _prepare(self, size: int) -> tuple[Path, Path]:
        """Crop the videos, unless a run before has done so."""
        frames, clips = self.out / "frames", self.out / "held-out"
        if (frames / "index.json").exists():
            return frames, clips
        detector = FaceDetector()
        videos = [read_speaker(path, size, detector, self.max_seconds) for path in find_videos(self.videos)]
        return split_speaker(videos, self.out, size, self.held_out_share, self.stride)

    def _every(self, clips: Path) -> int:
        """Return the evaluation's ``--every``, so that about ``SCORED_FRAMES`` are scored."""
        num_frames = sum(count_frames(path) for path in clips.glob("*.mp4"))
        return max(1, num_frames // SCORED_FRAMES)

    def _measure(self, weights: Path, clips: Path, name: str, every: int) -> Figures:
        return measure_weights(
            weights,
            clips,
            self.out / f"{name}.json",
            references=REFERENCES,
            every=every,
            loss_weights=self.loss_weights,
            device=self.device,
        )


def fitted(config: TrainConfig, weights: Path) -> TrainConfig:
    """Return the recipe for the networks of some weights, at their picture's size.

    Raises:
        WeightsError: they cannot be used.
    """
    _, codec, _ = load_weights(weights)
    face_keypoints = config.face_keypoints if codec.anchored_keypoints else 0
    return dataclasses.replace(config, codec=codec, picture_size=codec.image_size, face_keypoints=face_keypoints)


def carry_priors(before: Path, after: Path) -> None:
    """Copy the bitstream's priors, where weights have some beside them: they are of keypoints, which stay the same."""
    priors = before.with_suffix(".priors.safetensors")
    if priors.exists():
        shutil.copyfile(priors, after.with_suffix(".priors.safetensors"))


def table(figures: dict[str, Figures]) -> Table:
    """Return what was measured on the held-out parts, before and after."""
    shown = Table("held-out", *figures, "repeated reference")
    for name, heading, form in SHOWN:
        values = [figures[column][name] for column in figures] + [figures["before"][f"frozen_{name}"]]
        shown.add_row(heading, *(form.format(value) if value is not None else "-" for value in values))
    return shown
