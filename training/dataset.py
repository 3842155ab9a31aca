"""Frames of talking-head clips, stored once as raw pictures, and samples drawn from them.

    clips/*.mp4 -> FrameStore: frames.npy (F, S, S, 3) uint8, memory-mapped, and index.json (clips with their ranges)
    FrameStore -> Sampler -> Batch: driving pictures and references of the same clip

Shape legend: B batch, R references, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt
import torch
from av.error import FFmpegError
from rich.progress import track
from torch import Tensor

from codec.errors import TrainingError
from codec.model.grid import cell_centres, sample

Frames = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
NPY_HEADER_BYTES = 128

MIRRORED = (2, 1, 0, 4, 3, 5, 6, 10, 11, 12, 7, 8, 9, 14, 13, 15, 16, 17)
"""Which landmark each one becomes in a mirrored picture; see ``training.landmarks``."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A run of consecutive frames of one person in a store."""

    name: str
    group: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch, pictures in [0, 1].

    Attributes:
        driving_BCHW: pictures to be reconstructed.
        references_BRCHW: other pictures of the same people.
        landmarks_BSLC: (B, 1 + R, L, 2) in [-1, 1] of driving picture and references, NaN where unknown; None where
            the store has none.
    """

    driving_BCHW: Tensor
    references_BRCHW: Tensor
    landmarks_BSLC: Tensor | None


class FrameStore:
    """Raw frames on disk, memory-mapped.

    Args:
        folder: what ``build_store`` wrote.

    Raises:
        TrainingError: the folder holds no store.
    """

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / "index.json").read_text())
            self.frames: Frames = np.load(folder / "frames.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise TrainingError(f"{folder} holds no frame store: {error}") from error
        landmarks = folder / "landmarks.npy"
        self.landmarks_FLC: Points | None = np.load(landmarks) if landmarks.exists() else None
        self.clips = [Clip(**clip) for clip in index["clips"]]


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
    out.mkdir(parents=True, exist_ok=True)
    index, faults, start = [], [], 0
    partial = out / "frames.partial"
    with partial.open("wb") as file:
        write_header(file, (0, size, size, 3))
        for path in track(sorted(clips), description="decoding"):
            try:
                frames = read_clip(path, size)
            except TrainingError as fault:
                faults.append(str(fault))
                continue
            frames = frames[:: max(stride, round(len(frames) / frames_per_clip))]
            file.write(frames.tobytes())
            index.append(Clip(path.stem, path.stem.split("-")[0], start, start + len(frames)))
            start += len(frames)
        write_header(file, (start, size, size, 3))
    if not index:
        partial.unlink()
        raise TrainingError("no usable clip: " + ("; ".join(faults[:3]) or "the folder has no video files"))
    partial.replace(out / "frames.npy")
    (out / "index.json").write_text(json.dumps({"size": size, "clips": [dataclasses.asdict(clip) for clip in index]}))
    return faults


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file of bytes at its start; it takes as much room whatever the shape."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    if file.tell() != NPY_HEADER_BYTES:
        raise ValueError(f"the header of frames.npy took {file.tell()} bytes")


class Sampler:
    """Draw batches: a clip, a driving frame, references from elsewhere in the clip; jitter and mirror them.

    Groups of clips (sources) are drawn by the square root of their size, so that many clips of one studio do not
    drown the rest.

    Args:
        store: the frames.
        picture_size: height and width of the batch's pictures.
        seed: of the draws.
        crop_jitter_share: share of samples whose pictures are each moved and scaled.
    """

    def __init__(self, store: FrameStore, picture_size: int, seed: int, crop_jitter_share: float = 0.5) -> None:
        self.store, self.picture_size, self.crop_jitter_share = store, picture_size, crop_jitter_share
        self.random = np.random.default_rng(seed)
        groups = np.array([clip.group for clip in store.clips])
        names, inverse, _ = np.unique(groups, return_inverse=True, return_counts=True)
        frames = np.array([clip.stop - clip.start for clip in store.clips], dtype=np.float64)
        per_group = np.sqrt(np.bincount(inverse, weights=frames, minlength=len(names)))
        weights = (per_group / np.bincount(inverse, weights=frames, minlength=len(names)))[inverse] * frames
        self.weights = weights / weights.sum()

    def batch(self, batch_size: int, num_references: int) -> Batch:
        """Draw one batch with that many references a sample."""
        chosen = self.random.choice(len(self.store.clips), size=batch_size, p=self.weights)
        picks = []
        for index in chosen:
            clip = self.store.clips[int(index)]
            picks.append(self.random.integers(clip.start, clip.stop, size=1 + num_references))
        chosen_N = np.concatenate(picks)
        frames_NHWC = torch.from_numpy(np.stack([self.store.frames[i] for i in chosen_N]))
        images_NCHW = frames_NHWC.permute(0, 3, 1, 2).float() / 255
        jitter = self.jitter(batch_size, 1 + num_references)
        images_BSCHW = jitter.pictures(images_NCHW, self.picture_size).unflatten(0, (batch_size, -1))
        landmarks_BSLC = None
        if self.store.landmarks_FLC is not None:
            landmarks_NLC = jitter.points(torch.from_numpy(self.store.landmarks_FLC[chosen_N]))
            landmarks_BSLC = landmarks_NLC.unflatten(0, (batch_size, -1))
        return Batch(images_BSCHW[:, 0].contiguous(), images_BSCHW[:, 1:].contiguous(), landmarks_BSLC)

    def jitter(self, samples: int, group: int) -> Jitter:
        """Draw a jitter: mirror whole samples, move and scale single pictures a little, as the sender's crop does."""
        number = samples * group
        draw = self.random
        mirror = np.repeat(draw.choice([-1.0, 1.0], size=samples), group)
        moves = draw.random(samples) < self.crop_jitter_share
        scale = np.exp(draw.normal(0, 0.05, size=number) * np.repeat(moves, group))
        shift = draw.normal(0, 0.05, size=(number, 2)) * np.repeat(moves, group)[:, None]
        scale = np.minimum(scale, 1.0)
        factor_NC = np.stack((mirror * scale, scale), axis=-1)
        return Jitter(torch.tensor(factor_NC, dtype=torch.float32), torch.tensor(shift, dtype=torch.float32))


@dataclass(frozen=True, slots=True)
class Jitter:
    """Where each picture is sampled: what is at ``p`` afterwards was at ``factor * p + shift``.

    Attributes:
        factor_NC: (N, 2), negative in x for mirrored pictures.
        shift_NC: (N, 2).
    """

    factor_NC: Tensor
    shift_NC: Tensor

    def pictures(self, images_NCHW: Tensor, size: int) -> Tensor:
        """Return the pictures, (N, 3, size, size)."""
        grid_HWC = cell_centres(size, size, images_NCHW)
        grid_NHWC = grid_HWC * self.factor_NC[:, None, None] + self.shift_NC[:, None, None]
        if images_NCHW.shape[-1] >= 2 * size:
            images_NCHW = torch.nn.functional.avg_pool2d(images_NCHW, images_NCHW.shape[-1] // size)
        return sample(images_NCHW, grid_NHWC)

    def points(self, landmarks_NLC: Tensor) -> Tensor:
        """Return the landmarks, (N, L, 2); left and right change names in a mirrored picture."""
        moved_NLC = (landmarks_NLC - self.shift_NC[:, None]) / self.factor_NC[:, None]
        mirrored_N11 = (self.factor_NC[:, 0] < 0)[:, None, None]
        return torch.where(mirrored_N11, moved_NLC[:, list(MIRRORED)], moved_NLC)
