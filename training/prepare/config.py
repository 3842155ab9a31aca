"""Settings of the data preparation: what ``python -m training.prepare NAME --help`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codec.errors import ConfigError
from codec.face import HEAD, UPPER_BODY, Framing

Crop = Literal["sender", "published"]
IdentitySource = Literal["faces", "folder", "prefix", "file"]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What all sets share."""

    out: Path
    """Folder to write: clips in train/, val/ and test/, manifest.csv, left_out.csv, and records to resume from."""
    size: int = 256
    """Height and width of the clips, pixels."""
    min_square: int = 0
    """Leave out people whose square is smaller than this in the video, pixels; 0 takes half of --size."""
    min_s: float = 1.0
    """Leave out shorter clips, seconds."""
    max_s: float = 20.0
    """End a clip after this many seconds and begin the next."""
    max_fps: float = 30.0
    """Drop pictures of faster videos, evenly, down to at most this many a second."""
    crf: int = 15
    """x264's constant quality; lower is better and larger."""
    val_share: float = 0.05
    """Share of the identities put into val/, taken from those that no published partition puts into test/."""
    test_share: float = 0.05
    """Share of the identities put into test/, where no partition is published."""
    jobs: int = 0
    """Videos worked on at the same time, each in a process of its own; 0 takes one a core."""
    ray_address: str | None = None
    """Work on a Ray cluster: its address, auto, or local for one on this machine; --out and videos must be shared."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        if self.size % 2 or not 64 <= self.size <= 2048:
            raise ConfigError(f"size is {self.size}; it must be even and lie in [64, 2048]")
        for name, low, high in (
            ("min_square", 0, 4096),
            ("min_s", 0.1, 3600),
            ("max_s", self.min_s, 3600),
            ("max_fps", 1, 240),
            ("crf", 0, 51),
            ("val_share", 0, 0.5),
            ("test_share", 0, 0.5),
            ("jobs", 0, 1024),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; it must lie in [{low:g}, {high:g}]")

    @property
    def least_square(self) -> float:
        """Side of the smallest square that is taken, pixels."""
        return self.min_square or self.size / 2

    @property
    def framing(self) -> Framing:
        """How much of a person the square shows."""
        return HEAD


@dataclass(frozen=True, kw_only=True)
class PublishedConfig(PrepareConfig):
    """What sets share that are published as lists of YouTube videos."""

    videos: Path
    """Folder of the downloaded videos, named by their YouTube ids; missing ones are downloaded there by yt-dlp."""
    download: bool = True
    """Download missing videos; without, they are left out."""
    max_height: int = 1080
    """Largest picture that is downloaded, lines."""
    crop: Crop = "sender"
    """Follow the face in the published box as the sender does, or cut the published box itself."""


@dataclass(frozen=True, kw_only=True)
class TalkingHeadConfig(PublishedConfig):
    """TalkingHead-1KH: its lists of tubes (video, piece, frames, box); the published val/ becomes test/."""

    lists: Path
    """The set's data_list folder: train_video_tubes.txt, val_video_tubes.txt."""
    parts: tuple[Literal["train", "val", "small"], ...] = ("train", "val")
    """Lists to prepare."""
    size: int = 512
    """Height and width of the clips, pixels."""
    max_s: float = 45.0
    """End a clip after this many seconds and begin the next (the test videos have 1,024 frames)."""
    val_share: float = 0.02
    """Share of the training videos put into val/."""


@dataclass(frozen=True, kw_only=True)
class VoxCeleb2Config(PublishedConfig):
    """VoxCeleb2: the annotations of its authors, or a table in the layout of vox-metadata.csv."""

    list: Path
    """Folder of annotations (PERSON/VIDEO/UTTERANCE.txt), or CSV file."""
    test_list: Path | None = None
    """The annotations of the test people; a CSV file has a column partition instead."""
    max_s: float = 41.0
    """End a clip after this many seconds and begin the next."""
    val_share: float = 0.01
    """Share of the training people put into val/."""


@dataclass(frozen=True, kw_only=True)
class TedTalkConfig(PublishedConfig):
    """TED-talk, upper bodies: a table in the layout of ted384-metadata.csv; its boxes are cut as they are."""

    list: Path
    """CSV file."""
    size: int = 384
    """Height and width of the clips, pixels."""
    max_s: float = 41.0
    """End a clip after this many seconds and begin the next."""
    crop: Crop = "published"
    """Cut the published box, or follow the face and cut an upper-body square derived from it."""

    @property
    def framing(self) -> Framing:
        """How much of a person the square shows."""
        return UPPER_BODY


@dataclass(frozen=True, kw_only=True)
class FolderConfig(PrepareConfig):
    """A folder of your own videos, searched with its subfolders."""

    clips: Path
    """Folder of videos."""
    identity: IdentitySource = "faces"
    """Who is who: by face, by first subfolder, by file name up to the first dash, or each file a person of its own."""
    same_face: float = 0.45
    """Faces nearer than this are one person (--identity faces); a larger number finds fewer people."""
    body: bool = False
    """Cut upper bodies, by a square derived from the face, instead of head and shoulders."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a setting is out of range.
        """
        super().__post_init__()
        if not 0.1 <= self.same_face <= 1.5:
            raise ConfigError(f"same_face is {self.same_face}; it must lie in [0.1, 1.5]")

    @property
    def framing(self) -> Framing:
        """How much of a person the square shows."""
        return UPPER_BODY if self.body else HEAD
