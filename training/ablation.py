"""Train and measure the variants of the paper's Table 5 (supplement, section D) with several seeds.

python -m training.ablation --frames STORE --clips HELD_OUT --out DIR --seeds 3

Neither residual connection nor extra key-values, the residual connection, both: each is trained from scratch with each
seed and measured by the shipped evaluation; the table gives mean and standard deviation over seeds. The same command
goes on with what was stopped.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from codec.errors import ConfigError, TrainingError, WarpcallError
from codec.model.weights import choose_device
from training.config import RunConfig, TrainConfig
from training.recipes import ABLATIONS, ablated, recipe
from training.shipped import Figures, measure_weights
from training.trainer import Trainer

METRICS = {
    "psnr_db": ("PSNR, dB", 2),
    "l1": ("L1, 0 to 255", 2),
    "lpips_alex": ("LPIPS", 4),
    "akd": ("AKD, px", 2),
}

Results = dict[str, list[Figures]]


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Train the three variants of the paper's Table 5 with several seeds, measure them, print the table."""

    frames: Path
    """Frame store to train on."""
    clips: Path
    """Folder of square mp4 clips of other people, to measure on."""
    out: Path
    """Folder to write: a run for each variant and seed, ablation.json and ablation.md."""
    recipe: str = "talkinghead-256"
    """Recipe whose network is varied."""
    seeds: int = 3
    """Runs of each variant."""
    steps: int | None = None
    """Steps of each run, instead of the recipe's."""
    batch_size: int | None = None
    """Samples a step, instead of the recipe's."""
    picture_size: int | None = None
    """Height and width of training and measured pictures, pixels, instead of the recipe's."""
    references: int = 1
    """Reference pictures when measuring; the paper's table has one."""
    every: int = 1
    """Score one pair of neighbouring frames out of this many."""
    vgg: Path | None = None
    """Safetensors of VGG convolutions; torchvision's VGG-19 is downloaded without it."""
    loss_weights: Path | None = None
    """Folder with lpips_alex.safetensors; the lpips package's weights are downloaded without it."""
    time_limit: float = float("inf")
    """Seconds after which the runs stop cleanly."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        if self.seeds < 1:
            raise ConfigError(f"seeds is {self.seeds}; it must be positive")

    def trained(self, variant: str, seed: int) -> TrainConfig:
        """Return the recipe of one run."""
        config = ablated(recipe(self.recipe), variant, f"ablation-{variant}")
        changes: dict[str, Any] = {"seed": seed}
        changes |= {name: getattr(self, name) for name in ("steps", "batch_size") if getattr(self, name) is not None}
        if self.picture_size is not None:
            changes["picture_size"] = self.picture_size
            changes["codec"] = dataclasses.replace(config.codec, image_size=self.picture_size)
            sizes = tuple(size for size in config.perceptual_sizes if size <= self.picture_size)
            changes["perceptual_sizes"] = sizes or (self.picture_size,)
        return dataclasses.replace(config, **changes)

    def runs(self) -> Iterator[tuple[str, int]]:
        """Give variant and seed of each run; a seed's variants together, so that a table grows evenly."""
        for seed in range(self.seeds):
            for variant in ABLATIONS:
                yield variant, seed


def ablate(config: AblationConfig) -> Results | None:
    """Train and measure what is not done yet.

    Args:
        config: settings.

    Returns:
        Figures by variant, one for each seed; None when it was stopped before the end.

    Raises:
        TrainingError: no frames, no clips, or figures of other settings in ``out``.
    """
    deadline = time.monotonic() + config.time_limit
    results: Results = {variant: [] for variant in ABLATIONS}
    for variant, seed in config.runs():
        trained, folder = config.trained(variant, seed), config.out / f"{variant}-{seed}"
        figures = known_figures(folder, trained)
        if figures is None:
            figures = train_and_measure(config, trained, folder, deadline - time.monotonic())
        if figures is None:
            return None
        results[variant].append(figures)
    return results


def known_figures(folder: Path, trained: TrainConfig) -> Figures | None:
    """Return the figures of a run that is done, or None.

    Raises:
        TrainingError: they are of other settings.
    """
    path = folder / "figures.json"
    if not path.exists():
        return None
    known: dict[str, Any] = json.loads(path.read_text())
    if known["config"] != json.loads(trained.to_json()):
        raise TrainingError(f"{path} is of other settings; give another --out")
    figures: Figures = known["figures"]
    return figures


def train_and_measure(
    config: AblationConfig, trained: TrainConfig, folder: Path, time_limit_s: float
) -> Figures | None:
    """Train one run to its end and measure it; None when it was stopped before."""
    logging.info("%s, seed %d", trained.name, trained.seed)
    run = RunConfig(
        frames=config.frames,
        out=folder,
        vgg=config.vgg,
        time_limit=max(time_limit_s, 0.0),
        device=config.device,
    )
    trainer = Trainer(trained, run, choose_device(config.device))
    trainer.run()
    if trainer.step < trainer.num_steps:
        return None
    figures = measure_weights(
        trainer.weights_path,
        config.clips,
        folder / "reconstruct.json",
        references=config.references,
        every=config.every,
        loss_weights=config.loss_weights,
        device=config.device,
    )
    known = {"config": json.loads(trained.to_json()), "figures": figures}
    (folder / "figures.json").write_text(json.dumps(known, indent=2) + "\n")
    return figures


def cells(results: Results, metric: str, digits: int) -> list[str]:
    """Return mean and standard deviation of a metric for each variant."""
    texts = []
    for runs in results.values():
        values = [figures[metric] for figures in runs if figures[metric] is not None]
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        texts.append(f"{np.mean(values):.{digits}f}{spread}" if values else "-")
    return texts


def table(results: Results) -> Table:
    """Return the paper's Table 5 of our runs."""
    shown = Table("", *results)
    for metric, (heading, digits) in METRICS.items():
        shown.add_row(heading, *cells(results, metric, digits))
    return shown


def markdown(results: Results) -> str:
    """Return the same as Markdown."""
    lines = [f"| | {' | '.join(results)} |", "|---" * (1 + len(results)) + "|"]
    for metric, (heading, digits) in METRICS.items():
        lines.append(f"| {heading} | {' | '.join(cells(results, metric, digits))} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the ablation; 0 is good, 1 a failure told in one line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        config = tyro.cli(AblationConfig, args=argv, prog="python -m training.ablation", description=__doc__)
        if config.threads:
            torch.set_num_threads(config.threads)
        results = ablate(config)
        if results is None:
            print("stopped; the same command goes on", file=sys.stderr)
            return 1
        (config.out / "ablation.json").write_text(json.dumps(results, indent=2) + "\n")
        (config.out / "ablation.md").write_text(markdown(results))
        Console().print(table(results))
    except WarpcallError as error:
        print(f"training.ablation: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
