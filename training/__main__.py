"""Train a recipe, make the frame store and the landmarks that recipes read, or learn the bitstream's priors.

python -m training frames --clips DIR --out STORE
python -m training landmarks --frames STORE
python -m training teach --frames STORE --out TAUGHT.safetensors
python -m training compact-256 --frames STORE --out RUN --init TAUGHT.safetensors
torchrun --nproc-per-node 8 -m training talkinghead-256 --frames STORE --out RUN
python -m training priors --clips DIR --out NAME.priors.safetensors
python -m training personalise VIDEO ... --out RUN

Recipes: RECIPES. Each one's settings are flags of its own: python -m training RECIPE --help.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from codec import load_model
from codec.bitstream.priors import save_priors
from codec.errors import TrainingError, WarpcallError
from codec.model.weights import choose_device
from training.config import RunConfig, TrainConfig
from training.dataset import FrameStore, build_store
from training.distributed import join
from training.evaluate.clips import find_clips
from training.evaluate.metrics.lpips import load_lpips
from training.landmarks import label_store
from training.personalise import PersonaliseCommand
from training.priors import FRAMES_PER_CLIP, PriorsConfig, learn_priors
from training.recipes import RECIPES, recipe
from training.sensitivity import find_sensitivity
from training.teach import TeachConfig, teach
from training.tracks import find_tracks, spread
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
class TeachCommand:
    """Teach keypoint detector and matte network from a store's labels, before a recipe rebuilds pictures."""

    frames: Path
    """Frame store with landmarks, and mattes where it has them."""
    out: Path
    """Weights to write (.safetensors)."""
    init: Path | None = None
    """Weights to start from; without them ``compact-256`` begins anew."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    learning: TeachConfig = field(default_factory=TeachConfig)
    """How they learn."""

    def run(self) -> None:
        """Teach and write."""
        if self.threads:
            torch.set_num_threads(self.threads)
        for figures in teach(FrameStore(self.frames), self.init, self.out, self.learning):
            print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train a recipe; goes on from the checkpoint in ``--out`` when there is one."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """What is trained."""
    to: Annotated[RunConfig, tyro.conf.arg(name="")]
    """Where and how."""
    dry_run: bool = False
    """Print the resolved recipe and stop."""

    def run(self) -> None:
        """Train."""
        if self.dry_run:
            print(self.config.describe())
            return
        if self.to.threads:
            torch.set_num_threads(self.to.threads)
        with join(choose_device(self.to.device)) as (processes, device):
            Trainer(self.config, self.to, device, processes).run()


@dataclass(frozen=True, kw_only=True)
class PriorsCommand:
    """Learn the bitstream's priors from clips; they belong beside the weights, as NAME.priors.safetensors."""

    clips: Path
    """Folder of mp4 clips."""
    out: Path
    """File to write."""
    weights: Path | None = None
    """Whose detector finds the keypoints; the embedded one's without it."""
    limit: int = 600
    """At most this many clips, taken in turn from each source; 0 takes all."""
    tracks: Path | None = None
    """File that keeps the keypoints for the next time."""
    sensitivity_clips: int = 60
    """Clips on which it is measured what errors cost in the picture, taken in turn from each source; with 0, an error
    costs the same everywhere."""
    loss_weights: Path | None = None
    """Folder with lpips_alex.safetensors; the lpips package's weights are downloaded without it."""
    learning: PriorsConfig = field(default_factory=PriorsConfig)
    """How priors are learned."""

    def run(self) -> None:
        """Learn and write.

        Raises:
            TrainingError: the file's folder cannot be made; told before the clips are read.
        """
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.out.parent} cannot be made: {error.strerror}") from error
        torch.set_num_threads(1)
        model = load_model(self.weights)
        tracks = find_tracks(self.clips, model, self.limit, self.tracks, FRAMES_PER_CLIP)
        metric_NN = None
        if self.sensitivity_clips:
            lpips = load_lpips(self.loss_weights, model.device)
            paths = spread(find_clips(self.clips), self.sensitivity_clips)
            metric_NN = find_sensitivity(paths, model, lpips).metric_NN
        priors = learn_priors([each.values_FK3[:FRAMES_PER_CLIP] for each in tracks.values()], self.learning, metric_NN)
        print(f"{self.out}: priors {save_priors(self.out, priors)} from {len(tracks)} clips")


Command = (
    Annotated[FramesCommand, tyro.conf.subcommand("frames")]
    | Annotated[LandmarksCommand, tyro.conf.subcommand("landmarks")]
    | Annotated[TeachCommand, tyro.conf.subcommand("teach")]
    | Annotated[PriorsCommand, tyro.conf.subcommand("priors")]
)


def parse(
    words: Sequence[str],
) -> FramesCommand | LandmarksCommand | TeachCommand | PriorsCommand | TrainCommand | PersonaliseCommand:
    """Read the command line; ``train RECIPE`` and ``RECIPE`` mean the same.

    Raises:
        ConfigError: no such recipe, or a setting out of range.
    """
    if words[:1] == ["train"] and words[1:] and not words[1].startswith("-"):
        recipe(words[1])
        words = words[1:]
    if words and words[0] in RECIPES:
        return parse_recipe(words[0], words[1:])
    description = (__doc__ or "").replace("RECIPES", ", ".join(RECIPES)).replace("\n", "\n\n")
    return tyro.cli(Command, args=words, prog="python -m training", description=description)


def parse_recipe(name: str, words: Sequence[str]) -> TrainCommand | PersonaliseCommand:
    """Read a recipe's own command line; its settings are the defaults.

    Raises:
        ConfigError: a setting out of range.
    """
    planned = "--dry-run" in words
    source, out = (Path("SOURCE"), Path("RUN")) if planned else (tyro.MISSING, tyro.MISSING)
    prog = f"python -m training {name}"
    if name == "personalise":
        videos = (source,) if planned else tyro.MISSING
        personal = PersonaliseCommand(videos=videos, out=out, config=recipe(name))
        return tyro.cli(PersonaliseCommand, args=words, default=personal, prog=prog)
    default = TrainCommand(config=recipe(name), to=RunConfig(frames=source, out=out))
    return tyro.cli(TrainCommand, args=words, default=default, prog=prog, description=recipe_help(name))


def recipe_help(name: str) -> str:
    """Return what a recipe's function says of it."""
    return (RECIPES[name].__doc__ or "").replace("Return ", "Train ", 1)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 is good, 1 a failure told in one line."""
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(asctime)s %(message)s")
    try:
        parse(sys.argv[1:] if argv is None else argv).run()
    except WarpcallError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
