"""Train a recipe, or make the frame store and the landmarks that recipes read.

python -m training frames --clips DIR --out STORE
python -m training train compact-256 --frames STORE --out RUN
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from codec.errors import WarpcallError
from codec.model.weights import choose_device
from training.config import RunPaths
from training.dataset import build_store
from training.landmarks import label_store
from training.recipes import recipe
from training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class FramesCommand:
    """Decode a folder of talking-head clips (square head-and-shoulders crops) into a frame store."""

    clips: Path
    """Folder of mp4 clips, named GROUP-...; all clips of a group count as one source."""
    out: Path
    """Folder to write."""
    size: int = 256
    """Height and width of the stored pictures, pixels."""
    stride: int = 3
    """Every n-th frame is kept."""
    frames_per_clip: int = 75
    """Longer clips are thinned evenly to about this many frames."""

    def run(self) -> None:
        """Build the store."""
        faults = build_store(self.clips.glob("*.mp4"), self.out, self.size, self.stride, self.frames_per_clip)
        for fault in faults:
            print(f"left out: {fault}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class LandmarksCommand:
    """Find face landmarks in a frame store, as a teacher for the keypoint detector."""

    frames: Path
    """Frame store made by ``frames``."""
    workers: int = 2
    """Processes."""

    def run(self) -> None:
        """Label the store."""
        share = label_store(self.frames, self.workers)
        print(f"{100 * share:.1f}% of the frames have landmarks")


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train a recipe; goes on from the checkpoint in ``--out`` when there is one."""

    recipe: tyro.conf.Positional[str]
    """compact-256-small (128x128 pictures), compact-256 or paper-256."""
    frames: Path
    """Frame store made by ``frames``."""
    out: Path
    """Folder of the run."""
    vgg: Path | None = None
    """Safetensors of VGG convolutions; torchvision's VGG-19 is downloaded without it."""
    init: Path | None = None
    """Weights to start from."""
    init_partial: bool = False
    """Let parameters that ``--init`` lacks stay as they begin; they are named in the log."""
    steps: int | None = None
    """Steps of the whole run, instead of the recipe's."""
    batch_size: int | None = None
    """Samples a step, instead of the recipe's."""
    decay_steps: int | None = None
    """Last steps, over which the learning rate falls to a tenth, instead of the recipe's."""
    learning_rate: float | None = None
    """Adam's step size, instead of the recipe's."""
    crop_jitter_share: float | None = None
    """Share of samples whose pictures are moved and scaled, instead of the recipe's."""
    learning_rate_factors: tuple[tuple[str, float], ...] | None = None
    """Factors of the learning rate by prefix of parameter names, as in: decoder. 4.0 detector. 0."""
    time_limit: float = float("inf")
    """Seconds after which the run stops cleanly."""
    checkpoint_every: float = 300.0
    """Seconds between checkpoints."""
    picture_every: int = 500
    """Steps between pictures."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    dry_run: bool = False
    """Print the resolved recipe and stop."""

    def run(self) -> None:
        """Train."""
        config = recipe(self.recipe)
        overrides = {
            name: getattr(self, name)
            for name in (
                "steps",
                "decay_steps",
                "batch_size",
                "learning_rate",
                "crop_jitter_share",
                "learning_rate_factors",
            )
            if getattr(self, name) is not None
        }
        config = dataclasses.replace(config, **overrides)
        if self.dry_run:
            print(config)
            return
        if self.threads:
            torch.set_num_threads(self.threads)
        paths = RunPaths(frames=self.frames, out=self.out, vgg=self.vgg, init=self.init, init_partial=self.init_partial)
        trainer = Trainer(config, paths, choose_device(self.device))
        trainer.run(self.time_limit, self.checkpoint_every, self.picture_every)


Command = (
    Annotated[FramesCommand, tyro.conf.subcommand("frames")]
    | Annotated[LandmarksCommand, tyro.conf.subcommand("landmarks")]
    | Annotated[TrainCommand, tyro.conf.subcommand("train")]
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 is good, 1 a failure told in one line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    command = tyro.cli(Command, args=argv, prog="python -m training", description=__doc__)
    try:
        command.run()
    except WarpcallError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
