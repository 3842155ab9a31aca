"""Frames of talking-head clips, stored once as raw pictures.

    clips/*.mp4 -> build_store -> frames.npy (F, S, S, 3) uint8, memory-mapped, and index.json (clips with their ranges)

Shape legend: F frames, S height and width, L landmarks, C = 2 coordinates.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError
from rich.progress import track

from codec.errors import TrainingError

Frames = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
NPY_HEADER_BYTES = 128


@dataclass(frozen=True, slots=True)
class Clip:
    """A run of consecutive frames of one person in a store."""

    name: str
    group: str
    start: int
    stop: int


class FrameStore:
    """Raw frames on disk, memory-mapped.

    Args:
        folder: what ``build_store`` wrote.

    Raises:
        TrainingError: the folder holds no store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "index.json").read_text())
            self.clips = [Clip(**clip) for clip in index["clips"]]
            # "c", not "r": torch wants writable memory; what is written stays in this process.
            self.frames: Frames = np.load(folder / "frames.npy", mmap_mode="c")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{folder} holds no frame store: {error}") from error
        if not self.clips or self.frames.ndim != 4 or max(clip.stop for clip in self.clips) > len(self.frames):
            raise TrainingError(f"{folder} holds no frame store: its index does not fit its {len(self.frames)} frames")
        landmarks = folder / "landmarks.npy"
        self.landmarks_FLC: Points | None = np.load(landmarks) if landmarks.exists() else None
        if self.landmarks_FLC is not None and len(self.landmarks_FLC) != len(self.frames):
            raise TrainingError(f"{landmarks} belongs to other frames; run `python -m training landmarks` again")
        mattes = folder / "mattes.npy"
        self.mattes_FHW: npt.NDArray[np.uint8] | None = np.load(mattes, mmap_mode="r") if mattes.exists() else None
        if self.mattes_FHW is not None and len(self.mattes_FHW) != len(self.frames):
            raise TrainingError(f"{mattes} belongs to other frames; label them again")


def read_clip(path: Path, size: int) -> Frames:
    """Decode a clip at ``size``, (F, size, size, 3).

    Raises:
        TrainingError: the clip cannot be decoded or has fewer than two frames.
    """
    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24", width=size, height=size) for frame in container.decode(video=0)]
    except (FFmpegError, IndexError) as error:
        raise TrainingError(f"{path.name}: cannot be decoded ({error})") from error
    if len(frames) < 2:
        raise TrainingError(f"{path.name}: has {len(frames)} frames; 2 are needed")
    return np.stack(frames)


def build_store(clips: Iterable[Path], out: Path, size: int, stride: int, frames_per_clip: int) -> list[str]:
    """Decode clips into a store; a bad clip is named and left out.

    Args:
        clips: video files, named ``group-...``; the group is the name up to the first dash.
        out: folder to write.
        size: height and width of the stored pictures.
        stride: every n-th frame is kept; neighbours hardly differ.
        frames_per_clip: longer clips are thinned evenly to at most about this many.

    Returns:
        One line for each clip that was left out.

    Raises:
        TrainingError: no clip could be used.
    """
    faults: list[str] = []
    write_store(out, size, _thinned(sorted(clips), size, stride, frames_per_clip, faults))
    if not (out / "index.json").exists():
        raise TrainingError("no usable clip: " + ("; ".join(faults[:3]) or "the folder has no video files"))
    return faults


def _thinned(
    clips: list[Path], size: int, stride: int, frames_per_clip: int, faults: list[str]
) -> Iterator[tuple[str, Frames]]:
    """Give name and frames of each clip; note those that cannot be read."""
    for path in track(clips, description="decoding"):
        try:
            frames = read_clip(path, size)
        except TrainingError as fault:
            faults.append(str(fault))
            continue
        yield path.stem, frames[:: max(stride, round(len(frames) / frames_per_clip))]


def write_store(out: Path, size: int, clips: Iterable[tuple[str, Frames]]) -> None:
    """Write clips, as they come, to a store; without a clip there is none.

    Args:
        out: folder to write.
        size: height and width of the frames.
        clips: name (``group-...``) and frames (F, size, size, 3) of each.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.json").unlink(missing_ok=True)
    index, start = [], 0
    partial = out / "frames.partial"
    with partial.open("wb") as file:
        write_header(file, (0, size, size, 3))
        for name, frames in clips:
            file.write(frames.tobytes())
            index.append(Clip(name, name.split("-")[0], start, start + len(frames)))
            start += len(frames)
        write_header(file, (start, size, size, 3))
    if not index:
        partial.unlink()
        return
    partial.replace(out / "frames.npy")
    (out / "index.json").write_text(json.dumps({"size": size, "clips": [dataclasses.asdict(clip) for clip in index]}))


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file of bytes at its start; it takes as much room whatever the shape."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    if file.tell() != NPY_HEADER_BYTES:
        raise ValueError(f"the header of frames.npy took {file.tell()} bytes")
