"""Bytes a frame of each way to send the same keypoints of the same clip.

    track (F, K, 3) -> design -> bytes of each frame's message

Those of other designs are of their bytes alone: raw floats, packed bits, and what zstd makes of the latter, have no
envelope, number or identity. The standard body's generative-face software (GFVC) is rebuilt from its description: each
value less that of the frame before, as rounded at both ends, in zeroth-order Exp-Golomb bins with an adaptive binary
arithmetic coder that goes on from frame to frame; its length is ideal, rounded up to bytes. All quantise as version
1 of the wire format did (9 bits a coordinate, 5 a strength); ``quality`` tells what that costs.
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import zstandard

from codec import Model
from codec.bitstream.priors import COARSE, FINE, USUAL
from codec.bitstream.stream import StreamWriter
from codec.structs import Keypoints
from training.tracks import Track, Values

LEVELS = np.array([512, 512, 32])
BITS = 2 * 9 + 5
ZSTD_LEVEL = 19
MAGIC_BYTES = 4
DICTIONARY_BYTES = 4096


def keypoints_at(values_K3: Values) -> Keypoints:
    """Return one frame of a track as the detector gives it."""
    values_BK3 = torch.from_numpy(np.array(values_K3))[None]
    return Keypoints(values_BK3[..., :2], values_BK3[..., 2])


def ours(track: Track, model: Model, repeats: int = 0, frames_per_packet: int = 1, scale: int = USUAL) -> list[int]:
    """Return the bytes of the shipped codec's whole messages, the first frame's keyframe included.

    Those of a message belong to its newest frame; last frames that fill no message are left out.
    """
    writer = StreamWriter(
        model.config, model.sha256, model.priors, repeats=repeats, frames_per_packet=frames_per_packet
    )
    writer.scale = scale
    frames = zip(track.values_FK3, track.references_F.tolist(), strict=True)
    found = [len(writer.write(keypoints_at(values_K3), reference=tag).payload) for values_K3, tag in frames]
    return found[: 1 + (len(found) - 1) // frames_per_packet * frames_per_packet]


def levels_of(values_FK3: Values) -> npt.NDArray[np.int64]:
    """Return values at 9, 9 and 5 bits, (F, K, 3)."""
    unit_FK3 = values_FK3.astype(np.float64)
    unit_FK3[..., :2] = (unit_FK3[..., :2] + 1) / 2
    levels_FK3: npt.NDArray[np.int64] = np.clip(np.floor(unit_FK3 * LEVELS), 0, LEVELS - 1).astype(np.int64)
    return levels_FK3


def packed(levels_K3: npt.NDArray[np.int64]) -> bytes:
    """Return a frame's values bit after bit."""
    state = 0
    for x, y, strength in levels_K3.tolist():
        state = ((state << 9 | x) << 9 | y) << 5 | strength
    return state.to_bytes((BITS * len(levels_K3) + 7) // 8, "big")


def differences(levels_FK3: npt.NDArray[np.int64]) -> list[bytes]:
    """Return each frame's differences from the one before, a byte each: what zstd finds easiest."""
    steps_FK3 = np.diff(levels_FK3, axis=0, prepend=levels_FK3[:1])
    return [np.clip(steps, -128, 127).astype(np.int8).tobytes() for steps in steps_FK3]


def train_dictionary(tracks: Sequence[Values]) -> zstandard.ZstdCompressionDict:
    """Train a zstd dictionary on the differences of other clips."""
    samples = [sample for track in tracks for sample in differences(levels_of(track))[1:]]
    return zstandard.train_dictionary(DICTIONARY_BYTES, [*samples], level=ZSTD_LEVEL)


class ExpGolombCoder:
    """GFVC's entropy coder: the ideal length of adaptive binary arithmetic coding of zeroth-order Exp-Golomb bins."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.5, 0.5])

    def bits(self, value: int) -> float:
        """Return the bits of a signed value, and learn from it."""
        symbol = (2 * value - 1 if value > 0 else -2 * value) + 1
        length = symbol.bit_length()
        bins = [(("prefix", i), 1) for i in range(length - 1)] + [(("prefix", length - 1), 0)]
        bins += [(("suffix", i), symbol >> i & 1) for i in range(length - 1)]
        return sum(self._bin(context, bit) for context, bit in bins)

    def _bin(self, context: tuple[str, int], bit: int) -> float:
        counts = self._counts[context]
        cost = -math.log2(counts[bit] / sum(counts))
        counts[bit] += 1
        return cost


def gfvc(levels_FK3: npt.NDArray[np.int64]) -> list[int]:
    """Return the bytes of each frame in GFVC's design; the first is coded from zero."""
    coder = ExpGolombCoder()
    steps_FK3 = np.diff(levels_FK3, axis=0, prepend=0)
    return [math.ceil(sum(coder.bits(value) for value in steps.ravel().tolist()) / 8) for steps in steps_FK3]


def sizes(track: Track, model: Model, dictionary: zstandard.ZstdCompressionDict) -> dict[str, list[int]]:
    """Return the bytes of each frame by design."""
    levels_FK3 = levels_of(track.values_FK3)
    frames = [packed(levels_K3) for levels_K3 in levels_FK3]
    steps = differences(levels_FK3)
    plain = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    knowing = zstandard.ZstdCompressor(level=ZSTD_LEVEL, dict_data=dictionary, write_dict_id=False)
    return {
        "32-bit floats": [len(struct.pack(f"<{values.size}f", *values.ravel())) for values in track.values_FK3],
        "packed bits": [len(frame) for frame in frames],
        "packed bits, zstd": [len(plain.compress(frame)) - MAGIC_BYTES for frame in frames],
        "differences, zstd": [len(plain.compress(frame)) - MAGIC_BYTES for frame in steps],
        "differences, zstd with dictionary": [len(knowing.compress(frame)) - MAGIC_BYTES for frame in steps],
        "GFVC": gfvc(levels_FK3),
        "ours": ours(track, model),
        "ours, fine": ours(track, model, scale=FINE),
        "ours, coarse": ours(track, model, scale=COARSE),
        "ours, two repeated": ours(track, model, repeats=2),
        "ours, two frames a message": ours(track, model, frames_per_packet=2),
        "ours, three frames a message": ours(track, model, frames_per_packet=3),
        "ours, fine, two frames a message": ours(track, model, frames_per_packet=2, scale=FINE),
        "ours, fine, three frames a message": ours(track, model, frames_per_packet=3, scale=FINE),
    }
