"""Evaluation, first step: read a clip, and say which of its frames are references and which are scored.

    folder -> find_clips -> paths -> read_clip -> Clip (N, S, S, 3)

Shape legend: N frames, S height and width in pixels, 3 RGB.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from PIL import Image

from codec.errors import TrainingError
from codec.frames import rgb_from_frame

Picture = npt.NDArray[np.uint8]
Frames = npt.NDArray[np.uint8]

DEFAULT_FPS = 25.0


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A clip in memory.

    Attributes:
        name: file name.
        frames_NSS3: pictures, uint8 RGB.
        fps: frames a second, as the file says (25 where it does not).
        file_size: width and height of the file's pictures, pixels.
        sha256: of the file, 64 hex digits.
    """

    name: str
    frames_NSS3: Frames
    fps: float
    file_size: tuple[int, int]
    sha256: str

    def __len__(self) -> int:
        return len(self.frames_NSS3)


def find_clips(folder: Path, limit: int = 0, match: str = "*") -> list[Path]:
    """Return the mp4 clips of a folder by name.

    Args:
        folder: searched without its subfolders.
        limit: at most this many, evenly spaced over the sorted names; 0 takes all.
        match: pattern of names.

    Raises:
        TrainingError: there is no such folder, or no clip in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder")
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".mp4" and path.is_file())
    paths = [folder / name for name in names if fnmatchcase(name, match)]
    if not paths:
        raise TrainingError(f"{folder} holds no mp4 clip" + (f" that matches {match}" if names else ""))
    return spread(paths, limit) if limit else paths


def spread(paths: list[Path], number: int) -> list[Path]:
    """Return at most ``number`` of the paths, evenly spaced."""
    number = min(number, len(paths))
    return [paths[index * len(paths) // number] for index in range(number)]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        TrainingError: it cannot be read; the message is the reason alone.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"cannot be read: {error.strerror}") from error


def read_clip(path: Path, size: int) -> Clip:
    """Decode a whole clip at ``size``.

    Args:
        path: a video of square pictures; another size than ``size`` is resampled.
        size: wanted height and width, pixels.

    Raises:
        TrainingError: unreadable, without a picture, or not square.
    """
    sha256 = file_sha256(path)
    frames: list[Picture] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise TrainingError("has no video")
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            if width != height:
                raise TrainingError(f"is {width}x{height}, not square; cut it around the head first (training.prepare)")
            fps = float(stream.average_rate or DEFAULT_FPS)
            frames.extend(_resized(rgb_from_frame(frame), size) for frame in container.decode(stream))
    except FFmpegError as error:
        raise TrainingError(f"cannot be decoded: {error.strerror}") from error
    if not frames:
        raise TrainingError("has no picture")
    return Clip(path.name, np.stack(frames), fps, (width, height), sha256)


def beginning(clip: Clip, num_frames: int) -> Clip:
    """Return a clip's first frames, at most ``num_frames``."""
    return dataclasses.replace(clip, frames_NSS3=clip.frames_NSS3[:num_frames])


def _resized(rgb: Picture, size: int) -> Picture:
    if rgb.shape[:2] == (size, size):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def reference_positions(num_frames: int, num_references: int) -> tuple[int, ...]:
    """Return the positions of references, evenly spaced from the first frame on.

    Two of 30 frames are 0 and 15, three are 0, 10 and 20.

    Raises:
        TrainingError: the clip is too short to leave two frames to score.
    """
    if num_frames < num_references + 2:
        raise TrainingError(f"has {num_frames} frame(s); {num_references} reference(s) need {num_references + 2}")
    return tuple(index * num_frames // num_references for index in range(num_references))


def scored_positions(num_frames: int, references: tuple[int, ...], every: int) -> tuple[int, ...]:
    """Return the positions of scored frames: all but the references, or neighbouring pairs of them.

    With ``every`` = n, two neighbours out of each 2 n frames are scored, so that differences from frame to frame can
    still be measured.
    """
    return tuple(
        position for position in range(num_frames) if (position // 2) % every == 0 and position not in references
    )
