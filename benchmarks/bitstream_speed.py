"""Time a frame takes through the bitstream, one core: ``python -m benchmarks.bitstream_speed [--tracks FILE.npz]``.

Without ``--tracks`` (a file that ``training.tracks`` keeps) the keypoints are a smooth synthetic motion with jitter.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import tyro

from codec import Model, load_model
from codec.bitstream.quantise import dequantise
from codec.bitstream.stream import StreamReader, StreamWriter
from codec.structs import Keypoints

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True, kw_only=True)
class BitstreamSpeedConfig:
    """Time that a frame takes through the bitstream."""

    tracks: Path | None = None
    """Keypoints of clips, as training.tracks keeps them."""
    frames: int = 1000
    """How many frames."""


def synthetic(count: int, seed: int = 1) -> list[Keypoints]:
    """Return a swaying head whose keypoints jitter by a fifth of a pixel."""
    rng = np.random.default_rng(seed)
    rest_K2, strengths = rng.uniform(-0.5, 0.5, (20, 2)), torch.full((1, 20), 0.5)
    found = []
    for index in range(count):
        sway = 0.03 * np.array([np.sin(index / 14), np.sin(index / 9)])
        locations_K2 = rest_K2 + sway + rng.normal(0, 0.0016, (20, 2))
        found.append(Keypoints(torch.from_numpy(locations_K2).float()[None], strengths))
    return found


def from_tracks(path: Path, count: int) -> list[Keypoints]:
    """Return frames of kept tracks, one clip after the other."""
    with np.load(path, allow_pickle=False) as arrays:
        tracks = [arrays[name] for name in arrays.files if arrays[name].ndim == 3]
    values_FK3 = torch.from_numpy(np.concatenate(tracks)[:count])
    return [Keypoints(values_K3[None, :, :2], values_K3[None, :, 2]) for values_K3 in values_FK3]


def time_each(work: Callable[[Input], Output], inputs: Iterable[Input]) -> tuple[list[Output], str]:
    """Return what the work gives for each input, and its percentiles in microseconds."""
    outputs, times_us = [], []
    for each in inputs:
        start = time.perf_counter_ns()
        outputs.append(work(each))
        times_us.append((time.perf_counter_ns() - start) / 1000)
    p50, p95, p99 = np.percentile(times_us, [50, 95, 99])
    return outputs, f"{p50:7.0f} {p95:6.0f} {p99:6.0f}"


def ends(model: Model, repeats: int = 0) -> tuple[StreamWriter, StreamReader]:
    """Return both ends of a stream."""
    writer = StreamWriter(model.config, model.sha256, model.priors, repeats=repeats)
    return writer, StreamReader(model.config, model.sha256, model.priors)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = tyro.cli(BitstreamSpeedConfig, args=argv)
    model = load_model()
    frames = synthetic(arguments.frames)
    if arguments.tracks is not None:
        frames = from_tracks(arguments.tracks, arguments.frames)
    rows = {}
    for repeats in (0, 2):
        writer, reader = ends(model, repeats)
        encoded, rows[f"write, {repeats} repeated"] = time_each(writer.write, frames)
        read, rows[f"read, {repeats} repeated"] = time_each(reader.read, [frame.payload for frame in encoded])
    writer, reader = ends(model)
    encoded, rows["write, keyframe"] = time_each(lambda frame: writer.write(frame, force_keyframe=True), frames)
    _, rows["read, keyframe"] = time_each(reader.read, [frame.payload for frame in encoded])
    _, rows["dequantise"] = time_each(lambda frame: dequantise(frame.keypoints, model.config), read)
    sys.stdout.write("microseconds           p50    p95    p99\n")
    for name, times in rows.items():
        sys.stdout.write(f"{name:18s} {times}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
