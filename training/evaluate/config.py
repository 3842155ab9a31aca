"""Settings of the evaluations: what ``python -m training.evaluate COMMAND --help`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from codec.errors import ConfigError
from training.evaluate.choice import CHOICES, check_metrics
from training.evaluate.peer_table import PEERS

MAX_REFERENCES = 16
DEFAULT_REFERENCES = (1, 2, 3)
PEER_NAMES = tuple(peer.name for peer in PEERS)


def counts(words: list[str]) -> tuple[int, ...]:
    """Read numbers of references such as ``1,2,3``, rising, each once.

    Raises:
        ValueError: not numbers.
    """
    return tuple(sorted({int(part) for part in words[0].split(",")}))


Counts = Annotated[
    tuple[int, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="N,N,...",
        instance_from_str=counts,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value))],
    ),
]
Rates = Counts


def metric_names(words: list[str]) -> tuple[str, ...]:
    """Read names of metrics such as ``ssim,dists``; ``all`` and ``none`` stand for what they say."""
    if words[0] in ("all", "none"):
        return CHOICES if words[0] == "all" else ()
    return tuple(words[0].split(","))


Metrics = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME,...",
        instance_from_str=metric_names,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(value) or "none"],
    ),
]


def peer_names(words: list[str]) -> tuple[str, ...]:
    """Read names of comparison codecs such as ``x264,VP9``."""
    return tuple(words[0].split(","))


Peers = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME,...",
        instance_from_str=peer_names,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(value)],
    ),
]


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """Code clips with the shipped encoder and decoder and measure what a receiver sees, beside the frozen picture."""

    clips: Path
    """Folder of mp4 clips of square pictures."""
    out: Path
    """JSON file to write."""
    references: Counts = DEFAULT_REFERENCES
    """Numbers of reference pictures to measure with, evenly spaced from the first frame on."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""
    loss_weights: Path | None = None
    """Folder of metrics' weights (docs/evaluation.md names the files); without it the libraries download theirs."""
    limit: int = 0
    """Measure at most this many clips, evenly spaced over their names; 0 takes all."""
    frames: int = 0
    """Measure the first frames of each clip, at most this many; 0 takes the whole clip."""
    every: int = 1
    """Score one pair of neighbouring frames out of this many; all frames are coded."""
    landmarks: bool = True
    """Measure AKD and the mouth and eye regions (MTCNN on every scored picture)."""
    metrics: Metrics = ("ssim",)
    """Further metrics: ssim, lpips_vgg, dists, identity, fid, body and vmaf; all or none."""
    slow_every: int = 1
    """LPIPS-VGG, DISTS, identity, FID and body look at one scored frame out of this many."""
    coded_references: bool = False
    """Give the decoder references as a call sends them (AVIF), not as the receiver holds them beforehand."""
    align: bool = True
    """Let the sender align keypoints to the references, as one does that knows them and has the time."""
    group: tuple[str, ...] = ()
    """NAME=PATTERN: report clips whose names match under NAME as well, the others under rest."""
    strips: Path | None = None
    """Folder for a strip of pictures of each clip (references, source, received, frozen, error)."""
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
        for name, least in (("limit", 0), ("frames", 0), ("every", 1), ("slow_every", 1), ("jobs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        check_metrics(self.metrics, self.landmarks)
        for group in self.group:
            name, _, pattern = group.partition("=")
            if not name or not pattern:
                raise ConfigError(f"group is {group!r}; it must be NAME=PATTERN")

    @property
    def groups(self) -> dict[str, str]:
        """Patterns of clip names by group."""
        return {name: pattern for name, _, pattern in (group.partition("=") for group in self.group)}


@dataclass(frozen=True, kw_only=True)
class StripConfig:
    """Draw one clip as a strip: source, received and frozen pictures, and the error, at evenly spaced frames."""

    clip: Path
    """An mp4 clip of square pictures."""
    out: Path
    """PNG file to write."""
    references: int = 3
    """Number of reference pictures, evenly spaced from the first frame on."""
    frames: int = 8
    """Number of columns."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        check_counts((self.references,))
        if not 1 <= self.frames <= 64:
            raise ConfigError(f"frames is {self.frames}; it must lie in [1, 64]")


@dataclass(frozen=True, kw_only=True)
class RateDistortionConfig:
    """Measure bitrate against quality: ours and the frozen picture against x264, x265, VP9, SVT-AV1 and VVenC."""

    clips: Path
    """Folder of mp4 clips of square pictures."""
    out: Path
    """Folder for rd.json, rd.md, the curves (PNG, SVG) and the page (index.html)."""
    references: Counts = DEFAULT_REFERENCES
    """Numbers of reference pictures to measure ours with."""
    peers: Peers = PEER_NAMES
    """Codecs to compare with."""
    peers_from: Path | None = None
    """Earlier rd.json, from which the peers' points are taken where it has them: only ours are measured anew."""
    rates: Rates = (4, 8, 12, 20, 35, 65, 120)
    """Bitrates that the peers are asked for, kbit/s of payload; what they make of it is measured."""
    scales: Counts = (1, 2)
    """The peers code pictures smaller by these factors, scaled up by the receiver."""
    offline: bool = True
    """Let the peers look ahead and take their time as well, which no call can."""
    seconds: float = 6.0
    """Measure the first seconds of each clip."""
    every: int = 10
    """Score one pair of neighbouring frames out of this many; all frames are coded."""
    weights: Path | None = None
    """Model weights (.safetensors with their .json beside them) in place of the ones built in."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1, mps."""
    loss_weights: Path | None = None
    """Folder of metrics' weights (docs/evaluation.md names the files); without it the libraries download theirs."""
    match: str = "*"
    """Measure only clips whose names match, such as '[!a]*'."""
    limit: int = 0
    """Measure at most this many clips, evenly spaced over their names; 0 takes all."""
    landmarks: bool = True
    """Measure AKD and the mouth and eye regions."""
    metrics: Metrics = ("ssim", "lpips_vgg", "dists", "identity", "fid", "vmaf")
    """Further metrics: ssim, lpips_vgg, dists, identity, fid, body and vmaf; all or none."""
    slow_every: int = 5
    """LPIPS-VGG, DISTS, identity, FID and body look at one scored frame out of this many."""
    videos: int = 3
    """Clips that the page shows as videos side by side, evenly spaced over the clips measured; 0 shows none."""
    ffmpeg: Path | None = None
    """The ffmpeg program that runs the peers (default: imageio-ffmpeg's, else the one on the path)."""
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
        for name, least in (("limit", 0), ("every", 1), ("slow_every", 1), ("videos", 0), ("jobs", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        check_metrics(self.metrics, self.landmarks)
        for name in self.peers:
            if name not in PEER_NAMES:
                raise ConfigError(f"peers has {name!r}; there are {', '.join(PEER_NAMES)}")
        for name, low, high in (("rates", 1, 100_000), ("scales", 1, 8)):
            for value in getattr(self, name):
                if not low <= value <= high:
                    raise ConfigError(f"{name} has {value}; it must lie in [{low}, {high}]")
        if not 0.2 <= self.seconds <= 600:
            raise ConfigError(f"seconds is {self.seconds}; it must lie in [0.2, 600]")


@dataclass(frozen=True, kw_only=True)
class ReadmeConfig:
    """Make the README's results (Markdown on standard output) and its strip of pictures from the files of results."""

    results: Path = Path("results")
    """Folder with reconstruct.json, rd/rd.json and, for the strip, ship/rd.json."""
    into: Path | None = None
    """File in which to replace what stands between the two comment lines that the Markdown begins and ends with."""
    strip: Path | None = None
    """PNG file to write."""
    debug: bool = False
    """Show tracebacks."""


def check_counts(references: tuple[int, ...]) -> None:
    """Check numbers of references.

    Raises:
        ConfigError: one is out of range.
    """
    for number in references:
        if not 1 <= number <= MAX_REFERENCES:
            raise ConfigError(f"references is {number}; it must lie in [1, {MAX_REFERENCES}]")
