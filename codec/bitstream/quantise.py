"""Stage 3 of 8: keypoints to integers, and back.

    Keypoints (1, K) --to_grid--> grid (N,) --predict ...--> grid (N,) --from_grid--> QuantisedKeypoints (K, 3)
    Keypoints (1, K) --quantise--> QuantisedKeypoints (K, 3) --dequantise--> Keypoints (1, K)

A uniform quantiser: the range is cut into 2**bits equal bins, and a bin is rebuilt at its centre. The stream computes
on a finer grid of its own. Shape legend: B batch (1 here), K keypoints, 3 = (x, y, strength), N = 3 K.
"""

from __future__ import annotations

import numpy as np
import torch

from codec.bitstream.priors import GRID_BITS, Floats
from codec.config import CodecConfig
from codec.errors import ConfigError
from codec.structs import Integers, Keypoints, QuantisedKeypoints


def value_bits(config: CodecConfig) -> tuple[int, int, int]:
    """Return the bits of x, of y and of strength."""
    return config.location_bits, config.location_bits, config.strength_bits


def num_levels(config: CodecConfig) -> Integers:
    """Return the number of values that x, y and strength can take, shape (3,)."""
    return np.array([1 << bits for bits in value_bits(config)], dtype=np.int32)


def quantise(keypoints: Keypoints, config: CodecConfig) -> QuantisedKeypoints:
    """Round keypoints to integers; what lies outside the range is clamped to it.

    Args:
        keypoints: of one image, on any device.
        config: gives K and the bits.

    Raises:
        ConfigError: another shape than (1, K), or a value is NaN or infinite.
    """
    levels = num_levels(config)
    values_K3 = np.clip(np.floor(_unit_values(keypoints, config) * levels), 0, levels - 1)
    return QuantisedKeypoints(values_K3.astype(np.int32))


def to_grid(keypoints: Keypoints, config: CodecConfig) -> Floats:
    """Return keypoints in steps of the stream's grid, (N,), not rounded.

    Raises:
        ConfigError: another shape than (1, K), or a value is NaN or infinite.
    """
    return _unit_values(keypoints, config).ravel() * (1 << GRID_BITS)


def from_grid(grid_N: Integers, config: CodecConfig) -> QuantisedKeypoints:
    """Return what values on the stream's grid are in the config's bins."""
    shifts = np.array([GRID_BITS - bits for bits in value_bits(config)], dtype=np.int32)
    return QuantisedKeypoints(grid_N.reshape(-1, 3) >> shifts)


def _unit_values(keypoints: Keypoints, config: CodecConfig) -> Floats:
    expected = (1, config.num_keypoints)
    if keypoints.locations_BKC.shape != (*expected, 2) or keypoints.strengths_BK.shape != expected:
        shapes = tuple(keypoints.locations_BKC.shape), tuple(keypoints.strengths_BK.shape)
        raise ConfigError(
            f"keypoints have shapes {shapes[0]} and {shapes[1]}; they must be {(*expected, 2)} and {expected}"
        )
    locations = keypoints.locations_BKC.detach().cpu().double().numpy()[0]
    strengths = keypoints.strengths_BK.detach().cpu().double().numpy()[0]
    unit_K3: Floats = np.concatenate([(locations + 1) / 2, strengths[:, None]], axis=1)
    if not np.isfinite(unit_K3).all():
        raise ConfigError("keypoints hold a NaN or an infinite value")
    clamped_K3: Floats = np.clip(unit_K3, 0, 1)
    return clamped_K3


def dequantise(quantised: QuantisedKeypoints, config: CodecConfig) -> Keypoints:
    """Rebuild keypoints at the centres of their bins: float32, on the CPU.

    Raises:
        ConfigError: another shape than (K, 3), or a value out of range.
    """
    check_values(quantised.values_K3, config)
    unit_K3 = torch.from_numpy((quantised.values_K3 + 0.5) / num_levels(config)).float()
    return Keypoints(unit_K3[None, :, :2] * 2 - 1, unit_K3[None, :, 2])


def check_values(values_K3: Integers, config: CodecConfig) -> None:
    """Check shape and range of quantised values.

    Raises:
        ConfigError: another shape than (K, 3), or a value out of range.
    """
    if values_K3.shape != (config.num_keypoints, 3):
        raise ConfigError(f"quantised keypoints have shape {values_K3.shape}; it must be {(config.num_keypoints, 3)}")
    if not np.issubdtype(values_K3.dtype, np.integer):
        raise ConfigError(f"quantised keypoints are {values_K3.dtype}; they must be integers")
    if (values_K3 < 0).any() or (values_K3 >= num_levels(config)).any():
        raise ConfigError("a quantised keypoint is outside the range that its bits can hold")
