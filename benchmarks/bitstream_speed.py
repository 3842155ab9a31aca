"""Time a frame takes through the bitstream, one core: ``python -m benchmarks.bitstream_speed``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tyro

from benchmarks.bitstream_size import MODEL_SHA256, synthetic_clips
from codec.bitstream.quantise import dequantise, quantise
from codec.bitstream.stream import StreamReader, StreamWriter, peek
from codec.config import compact_256
from codec.structs import QuantisedKeypoints

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True, kw_only=True)
class BitstreamSpeedConfig:
    """Time that a frame takes through the bitstream."""

    jitter_bins: float = 0.5
    """Noise of the synthetic keypoints, in steps of the quantiser."""


def time_each(work: Callable[[Input], Output], inputs: Sequence[Input]) -> tuple[list[Output], str]:
    """Return what the work gives for each input, and its percentiles in microseconds."""
    outputs, times_us = [], []
    for each in inputs:
        start = time.perf_counter_ns()
        outputs.append(work(each))
        times_us.append((time.perf_counter_ns() - start) / 1000)
    p50, p95, p99 = np.percentile(times_us, [50, 95, 99])
    return outputs, f"{p50:7.0f} {p95:6.0f} {p99:6.0f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = tyro.cli(BitstreamSpeedConfig, args=argv)
    config = compact_256()
    clips = synthetic_clips(config, arguments.jitter_bins)
    frames = [QuantisedKeypoints(values) for values_NK3 in clips for values in values_NK3]
    rows = {}
    keypoints, rows["dequantise"] = time_each(lambda frame: dequantise(frame, config), frames)
    _, rows["quantise"] = time_each(lambda each: quantise(each, config), keypoints)
    writer, reader = StreamWriter(config, MODEL_SHA256), StreamReader(config, MODEL_SHA256)
    encoded, rows["write, predicted"] = time_each(writer.write, frames)
    payloads = [frame.payload for frame in encoded]
    _, rows["read, predicted"] = time_each(reader.read, payloads)
    _, rows["peek"] = time_each(peek, payloads)
    writer, reader = StreamWriter(config, MODEL_SHA256), StreamReader(config, MODEL_SHA256)
    encoded, rows["write, keyframe"] = time_each(lambda frame: writer.write(frame, force_keyframe=True), frames)
    _, rows["read, keyframe"] = time_each(reader.read, [frame.payload for frame in encoded])
    sys.stdout.write("microseconds           p50    p95    p99\n")
    for name, times in rows.items():
        sys.stdout.write(f"{name:18s} {times}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
