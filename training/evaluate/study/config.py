"""Settings of the preference study: what ``python -m training.evaluate.study COMMAND --help`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codec.errors import ConfigError
from training.evaluate.config import check_counts

FROZEN, OURS = "frozen", "warpcall"


@dataclass(frozen=True, kw_only=True)
class MakeConfig:
    """Make a page that asks people which of two videos is the better copy of a third."""

    clips: Path
    """Folder of mp4 clips of square pictures: the originals."""
    against: tuple[str, ...]
    """What ours is compared with: ``frozen`` (the nearest reference, repeated) and NAME=FOLDER of videos that have the
    originals' names, such as another codec's."""
    out: Path
    """Folder for ``page/`` (index.html, videos) and the key ``study.json``; keep the key to yourself."""
    references: int = 3
    """Number of reference pictures, evenly spaced from the first frame on."""
    seconds: float = 4.0
    """Length of a video. A clip of three times this gives three, from start, middle and end; a shorter one gives one,
    from its middle, or whole."""
    answers: int = 3
    """Answers for each pair, each by another person."""
    questions: int = 40
    """Pairs for each person, besides checks; the number of people follows."""
    check_every: int = 10
    """After so many questions comes one whose answer is plain, to see who attends; 0 asks none."""
    limit_s: int = 60
    """Time for a question, seconds; then the next one comes."""
    embed: bool = False
    """Put the videos into index.html, so that the page is one file."""
    seed: int = 0
    """Seed of all order and sides."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""
    limit: int = 0
    """Take at most this many clips, evenly spaced over their names; 0 takes all."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        check_counts((self.references,))
        least = (("answers", 1), ("questions", 1), ("check_every", 0), ("limit_s", 1), ("limit", 0))
        for name, low in least:
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if not 0.2 <= self.seconds <= 60:
            raise ConfigError(f"seconds is {self.seconds}; it must lie in [0.2, 60]")
        names = [name for name, _ in self.others]
        if not names:
            raise ConfigError("against is empty; it needs frozen or NAME=FOLDER")
        if OURS in names or len(set(names)) < len(names):
            raise ConfigError(f"against is {' '.join(self.against)}; names must differ, also from {OURS}")

    @property
    def others(self) -> tuple[tuple[str, Path | None], ...]:
        """Name and folder of each that ours is compared with; no folder for the frozen picture.

        Raises:
            ConfigError: one is neither ``frozen`` nor NAME=FOLDER.
        """
        others: list[tuple[str, Path | None]] = []
        for text in self.against:
            name, _, folder = text.partition("=")
            if text != FROZEN and not (name and folder):
                raise ConfigError(f"against has {text!r}; it must be frozen or NAME=FOLDER")
            others.append((name, Path(folder) if folder else None))
        return tuple(others)


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """Read answers back and print what people prefer, with confidence intervals."""

    study: Annotated[Path, tyro.conf.Positional]
    """The key, study.json, of the study."""
    answers: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files that people saved, or folders of them."""
    checks: float = 0.7
    """Share of the checks that a person must answer right; the answers of others are left out."""
    confidence: float = 0.95
    """Of the intervals."""
    out: Path | None = None
    """JSON file for the result."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        if not 0 <= self.checks <= 1:
            raise ConfigError(f"checks is {self.checks}; it must lie in [0, 1]")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence is {self.confidence}; it must lie between 0 and 1")
