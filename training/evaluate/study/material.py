"""Study, the videos: ours, theirs and the original, of each part of each clip.

    clip, model, folders -> pairs and files;  a name of a file says nothing of whose it is

Ours is what the shipped decoder makes of what the shipped encoder sends, with references as the receiver holds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codec import Model
from codec.errors import TrainingError
from training.evaluate.clips import Clip, Frames, read_clip, reference_positions
from training.evaluate.study.config import FROZEN, OURS
from training.evaluate.study.plan import Pair
from training.evaluate.study.segments import parts
from training.evaluate.study.video import spoilt, webm
from training.evaluate.transmission import Transmission, nearest_references

ENDINGS = (".mp4", ".webm", ".mkv", ".mov")
SMALLEST_FRAMES = 2


@dataclass(slots=True)
class Material:
    """What a page is made of.

    Attributes:
        pairs: what is to be known.
        checks: pairs whose answer is plain.
        files: videos by name.
    """

    pairs: list[Pair] = field(default_factory=list)
    checks: list[Pair] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, frames_NSS3: Frames, fps: float) -> str:
        """Keep pictures as a video and return its name, which is a hash of it."""
        data = webm(frames_NSS3, fps)
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.webm"
        self.files[name] = data
        return name

    def add_clip(self, path: Path, model: Model, others: Mapping[str, Path | None], count: int, seconds: float) -> None:
        """Add the pairs of one clip.

        Args:
            path: the original.
            model: the networks.
            others: folder of each that ours is compared with; None for the frozen picture.
            count: number of references.
            seconds: length of a part.

        Raises:
            TrainingError: a video is missing or does not fit; the message says why, and nothing is asked.
        """
        clip = read_clip(path, model.config.image_size)
        methods = Methods(clip, model, others, count)
        shown = parts(len(clip), clip.fps, seconds)
        if min(map(len, shown.values())) < SMALLEST_FRAMES:
            raise TrainingError(f"has {len(clip)} frame(s); that is no video")
        pairs: list[Pair] = []
        checks: list[Pair] = []
        for part, positions in shown.items():
            name = f"{path.name} {part}"
            source_NSS3 = clip.frames_NSS3[list(positions)]
            original = self.add(source_NSS3, clip.fps)
            ours = self.add(methods.ours(positions), clip.fps)
            for other in others:
                theirs = self.add(methods.other(other, positions), clip.fps)
                pairs.append(Pair(name, (OURS, other), (ours, theirs), original))
            if not checks:
                worse = self.add(spoilt(source_NSS3), clip.fps)
                checks.append(Pair(name, ("original", "spoilt"), (original, worse), original, is_check=True))
        self.pairs += pairs
        self.checks += checks


class Methods:
    """The pictures that each method makes of a clip.

    Args:
        clip: the original.
        model: the networks.
        others: folder of each that ours is compared with; None for the frozen picture.
        count: number of references.

    Raises:
        TrainingError: the clip is too short, or a video is missing or does not fit.
    """

    def __init__(self, clip: Clip, model: Model, others: Mapping[str, Path | None], count: int) -> None:
        self.clip = clip
        self.held_RSS3 = clip.frames_NSS3[list(reference_positions(len(clip), count))]
        self.videos = {
            name: self._video(name, folder, model.config.image_size)
            for name, folder in others.items()
            if folder is not None
        }
        self.transmission = Transmission(clip, model, list(self.held_RSS3))

    def _video(self, name: str, folder: Path, size: int) -> Frames:
        stem = Path(self.clip.name).stem
        path = next((folder / f"{stem}{ending}" for ending in ENDINGS if (folder / f"{stem}{ending}").is_file()), None)
        if path is None:
            raise TrainingError(f"{name} has no such clip in {folder}")
        try:
            frames_NSS3 = read_clip(path, size).frames_NSS3
        except TrainingError as error:
            raise TrainingError(f"{name}'s {path.name} {error}") from error
        if len(frames_NSS3) != len(self.clip):
            raise TrainingError(f"{name}'s {path.name} has {len(frames_NSS3)} frames, not {len(self.clip)}")
        return frames_NSS3

    def ours(self, positions: range) -> Frames:
        """Return what our receiver makes of some frames."""
        return self.transmission.pictures(positions)

    def other(self, name: str, positions: range) -> Frames:
        """Return what another makes of some frames."""
        if name == FROZEN:
            return self.held_RSS3[nearest_references(self.clip.frames_NSS3[list(positions)], self.held_RSS3)]
        return self.videos[name][list(positions)]
