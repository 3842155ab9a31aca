"""Settings of the paper's protocols: ``protocol``, ``animate`` and ``tables``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codec.errors import ConfigError
from training.evaluate.choice import check_metrics
from training.evaluate.config import Counts, Metrics, check_counts

DatasetName = Literal["talkinghead-1kh", "voxceleb2", "ted-talk"]


@dataclass(frozen=True, kw_only=True)
class ProtocolConfig:
    """The paper's reconstruction on a dataset's test list; its tables are printed by ``tables``."""

    dataset: Annotated[DatasetName, tyro.conf.Positional]
    """Which dataset's test."""
    clips: Path
    """Folder of the test's clips, mp4 of square pictures (``training.prepare`` makes them)."""
    out: Path
    """JSON file to write."""
    test_list: Path | None = None
    """File of the test list: a clip's name a line; without it all clips of the folder are the test."""
    references: Counts | None = None
    """Numbers of sources (default: those for which the paper prints figures)."""
    metrics: Metrics | None = None
    """Further metrics (default: fid, and body for TED-talk)."""
    slow_every: int = 1
    """FID and body look at one scored frame out of this many."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""
    loss_weights: Path | None = None
    """Folder of metrics' weights (docs/evaluation.md names the files); without it the libraries download theirs."""
    limit: int = 0
    """Measure at most this many clips, evenly spaced over their names; 0 takes all."""
    frames: int = 0
    """Measure the first frames of each clip, at most this many; 0 takes the whole clip, as the paper does."""
    every: int = 1
    """Score one pair of neighbouring frames out of this many; the paper scores all."""
    strips: Path | None = None
    """Folder for a strip of pictures of each clip."""
    jobs: int = 1
    """Clips measured at the same time, each in a process of its own."""
    cache: Path | None = None
    """Folder of results of earlier runs (default: warpcall/evaluate in the user's cache folder)."""
    debug: bool = False
    """Show tracebacks."""


@dataclass(frozen=True, kw_only=True)
class AnimateConfig:
    """Cross-identity animation: references of one person, keypoints of another, moved relative to the first."""

    clips: Path
    """Folder of mp4 clips of square pictures."""
    out: Path
    """JSON file to write."""
    identity: str = r"(.*)"
    """Regular expression whose first group tells whose clip a file name is, such as ``^([^-]+)-``. By default every
    clip is of another person."""
    references: Counts = (1, 3)
    """Numbers of reference pictures, evenly spaced from the first frame of the animated person's clip on."""
    metrics: Metrics = ("identity", "fid")
    """Further metrics: identity and fid."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""
    loss_weights: Path | None = None
    """Folder of metrics' weights (docs/evaluation.md names the files); without it the libraries download theirs."""
    limit: int = 0
    """Animate at most this many clips, evenly spaced over their names; 0 takes all."""
    frames: int = 0
    """Animate with the first frames of each driver, at most this many; 0 takes the whole clip."""
    every: int = 1
    """Animate and score one frame out of this many."""
    strips: Path | None = None
    """Folder for a strip of pictures of each clip: references, driver, animated."""
    jobs: int = 1
    """Clips measured at the same time, each in a process of its own."""
    cache: Path | None = None
    """Folder of results of earlier runs (default: warpcall/evaluate in the user's cache folder)."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        check_counts(self.references)
        check_metrics(self.metrics, landmarks=True)
        for name in self.metrics:
            if name not in ("identity", "fid"):
                raise ConfigError(f"metrics has {name}; an animated picture has no source to compare it with")
        for name, least in (("limit", 0), ("frames", 0), ("every", 1), ("jobs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        try:
            groups = re.compile(self.identity).groups
        except re.error as error:
            raise ConfigError(f"identity is {self.identity!r}; it is no regular expression: {error}") from error
        if groups < 1:
            raise ConfigError(f"identity is {self.identity!r}; it must have a group, as in (id[0-9]+)")


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Print the paper's tables as Markdown, ours beside the published figures."""

    results: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """JSON files that ``protocol`` wrote; datasets without one show published figures alone."""
    debug: bool = False
    """Show tracebacks."""
