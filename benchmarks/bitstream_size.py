"""Bytes a frame of each way to send the same keypoints: ``python -m benchmarks.bitstream_size [--tracks FILE.npz]``.

Without ``--tracks`` the keypoints are a smooth synthetic motion with jitter. A file of tracks holds arrays of quantised
values, (N, K, 3) each, one per clip. The dictionary is trained on the first half of each clip, and every figure is of
the second.
"""

from __future__ import annotations

import statistics
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
import zstandard

from codec.bitstream.stream import StreamWriter
from codec.config import CodecConfig, compact_256
from codec.structs import Integers, QuantisedKeypoints

MODEL_SHA256 = "00" * 32


def synthetic_clips(config: CodecConfig, jitter_bins: float, seed: int = 1) -> list[Integers]:
    """Return clips of a swaying head whose keypoints also move on their own.

    Args:
        config: gives K and the bits.
        jitter_bins: standard deviation of the detector's noise, in steps of the quantiser.
        seed: of the generator.

    Returns:
        Values (N, K, 3) of each clip.
    """
    rng = np.random.default_rng(seed)
    levels, strengths, k = 1 << config.location_bits, 1 << config.strength_bits, config.num_keypoints
    time_N = np.arange(500)[:, None]
    clips = []
    for _ in range(4):
        sway = levels / 64 * np.sin(time_N / rng.uniform(9, 25))
        own = levels / 128 * rng.random(k) * np.sin(time_N / rng.uniform(3, 12, k) + rng.uniform(0, 6, k))
        x, y = (rng.uniform(0.2, 0.8, k) * levels + sway * rng.uniform(0.3, 1) + own for _ in range(2))
        strength = strengths * (rng.uniform(0.35, 0.6, k) + 0.04 * np.sin(time_N / 10 + rng.uniform(0, 6, k)))
        values = np.stack([x, y, strength], axis=-1)
        values += rng.normal(0, [jitter_bins, jitter_bins, jitter_bins / 4], values.shape)
        clips.append(np.clip(np.floor(values), 0, [levels - 1, levels - 1, strengths - 1]).astype(np.int32))
    return clips


def stream_payloads(clips: Sequence[Integers], config: CodecConfig, *, keyframes: bool) -> list[list[bytes]]:
    """Return what the codec sends for each clip, a first keyframe left out unless all are keyframes."""
    payloads = []
    for values_NK3 in clips:
        writer = StreamWriter(config, MODEL_SHA256, first_number=20_000)
        frames = [writer.write(QuantisedKeypoints(values), force_keyframe=keyframes).payload for values in values_NK3]
        payloads.append(frames if keyframes else frames[1:])
    return payloads


def raw_floats(clips: Sequence[Integers]) -> list[list[bytes]]:
    """Return the values as 32-bit floats, which no frame of less than 4 bytes a value can hold."""
    return [[struct.pack(f"<{values.size}f", *values.ravel()) for values in values_NK3] for values_NK3 in clips]


def second_halves(clips: list[list[bytes]]) -> list[bytes]:
    """Return the frames that the dictionary has not seen."""
    return [frame for clip in clips for frame in clip[len(clip) // 2 :]]


def zstd_sizes(clips: list[list[bytes]], compressor: zstandard.ZstdCompressor) -> list[int]:
    """Return compressed sizes, without the four magic bytes that the format leaves out."""
    return [len(compressor.compress(frame)) - 4 for frame in second_halves(clips)]


def with_dictionary(clips: list[list[bytes]]) -> list[int]:
    """Return sizes with a dictionary trained on the first halves."""
    samples = [frame for clip in clips for frame in clip[: len(clip) // 2]]
    dictionary = zstandard.train_dictionary(4096, [*samples], level=19)
    return zstd_sizes(clips, zstandard.ZstdCompressor(level=19, dict_data=dictionary, write_dict_id=False))


def rows(clips: Sequence[Integers], config: CodecConfig) -> dict[str, list[int]]:
    """Return the sizes of the second halves' frames, by way of sending."""
    table: dict[str, list[int]] = {}
    kinds: dict[str, Callable[[], list[list[bytes]]]] = {
        "32-bit floats": lambda: raw_floats(clips),
        "keyframes (packed bits)": lambda: stream_payloads(clips, config, keyframes=True),
        "predicted frames": lambda: stream_payloads(clips, config, keyframes=False),
    }
    for name, make in kinds.items():
        frames = make()
        table[name] = [len(frame) for frame in second_halves(frames)]
        table[f"{name}, zstd"] = zstd_sizes(frames, zstandard.ZstdCompressor(level=19))
        table[f"{name}, zstd with dictionary"] = with_dictionary(frames)
    return table


@dataclass(frozen=True, kw_only=True)
class BitstreamSizeConfig:
    """Bytes a frame of each way to send the same keypoints."""

    tracks: Path | None = None
    """npz of quantised values, (N, K, 3) per clip; synthetic motion when absent."""
    jitter_bins: float = 0.5
    """Noise of the synthetic keypoints, in steps of the quantiser."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = tyro.cli(BitstreamSizeConfig, args=argv)
    config = compact_256()
    if arguments.tracks:
        with np.load(arguments.tracks) as tracks:
            clips = [tracks[name].astype(np.int32) for name in tracks.files]
    else:
        clips = synthetic_clips(config, arguments.jitter_bins)
    sys.stdout.write(f"{'bytes a frame, whole payload':45s}   mean    p50    p95\n")
    for name, sizes in rows(clips, config).items():
        p50, p95 = np.percentile(sizes, [50, 95])
        sys.stdout.write(f"{name:45s} {statistics.mean(sizes):6.1f} {p50:6.0f} {p95:6.0f}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
