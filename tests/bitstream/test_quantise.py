from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.quantise import dequantise, num_levels, quantise
from codec.config import CodecConfig
from codec.errors import ConfigError
from codec.structs import Keypoints, QuantisedKeypoints

CONFIG = CodecConfig(name="test", num_keypoints=3, location_bits=8, strength_bits=4)


def keypoints(locations: object, strengths: object) -> Keypoints:
    return Keypoints(torch.tensor([locations], dtype=torch.float32), torch.tensor([strengths], dtype=torch.float32))


def test_ends_and_centre_of_the_range() -> None:
    quantised = quantise(keypoints([[-1, 1], [0, -0.001], [0.999, -0.999]], [0, 1, 0.5]), CONFIG)
    assert quantised.values_K3.tolist() == [[0, 255, 0], [128, 127, 15], [255, 0, 8]]
    assert quantised.values_K3.dtype == np.int32


def test_values_outside_are_clamped() -> None:
    quantised = quantise(keypoints([[-7, 1.2], [1e30, -1e30], [0, 0]], [-0.1, 1.1, 3e38]), CONFIG)
    assert quantised.values_K3.tolist() == [[0, 255, 0], [255, 0, 15], [128, 128, 15]]


def test_reconstruction_is_at_bin_centres() -> None:
    rebuilt = dequantise(QuantisedKeypoints(np.array([[0, 255, 0], [128, 127, 15], [1, 2, 7]], dtype=np.int32)), CONFIG)
    assert rebuilt.locations_BKC.dtype == torch.float32
    assert rebuilt.locations_BKC.shape == (1, 3, 2)
    assert rebuilt.locations_BKC[0, 0].tolist() == [-1 + 1 / 256, 1 - 1 / 256]
    assert rebuilt.strengths_BK[0].tolist() == [1 / 32, 31 / 32, 15 / 32]


@given(st.data(), st.integers(4, 12), st.integers(1, 12))
def test_error_is_at_most_half_a_bin(data: st.DataObject, location_bits: int, strength_bits: int) -> None:
    config = CodecConfig(name="test", num_keypoints=3, location_bits=location_bits, strength_bits=strength_bits)
    location, strength = st.floats(-1, 1, width=32), st.floats(0, 1, width=32)
    original = keypoints(
        data.draw(st.lists(st.tuples(location, location), min_size=3, max_size=3)),
        data.draw(st.lists(strength, min_size=3, max_size=3)),
    )
    quantised = quantise(original, config)
    rebuilt = dequantise(quantised, config)
    assert (rebuilt.locations_BKC - original.locations_BKC).abs().max() <= 1 / (1 << location_bits) + 1e-6
    assert (rebuilt.strengths_BK - original.strengths_BK).abs().max() <= 0.5 / (1 << strength_bits) + 1e-6
    np.testing.assert_array_equal(quantise(rebuilt, config).values_K3, quantised.values_K3)


def test_every_level_comes_back() -> None:
    config = CodecConfig(name="test", num_keypoints=1, location_bits=12, strength_bits=12)
    for level in range(4096):
        quantised = QuantisedKeypoints(np.full((1, 3), level, dtype=np.int32))
        assert quantise(dequantise(quantised, config), config).values_K3.tolist() == [[level] * 3]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="NaN or an infinite"):
        quantise(keypoints([[0, bad], [0, 0], [0, 0]], [0, 0, 0]), CONFIG)
    with pytest.raises(ConfigError, match="NaN or an infinite"):
        quantise(keypoints([[0, 0], [0, 0], [0, 0]], [0, bad, 0]), CONFIG)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(1, 2, 2\) and \(1, 3\); they must be \(1, 3, 2\) and \(1, 3\)"):
        quantise(keypoints([[0, 0], [0, 0]], [0, 0, 0]), CONFIG)
    with pytest.raises(ConfigError, match="shape"):
        dequantise(QuantisedKeypoints(np.zeros((2, 3), dtype=np.int32)), CONFIG)


@pytest.mark.parametrize("value", [[0, 256, 0], [-1, 0, 0], [0, 0, 16]])
def test_levels_out_of_range_are_refused(value: list[int]) -> None:
    with pytest.raises(ConfigError, match="outside the range"):
        dequantise(QuantisedKeypoints(np.array([value] * 3, dtype=np.int32)), CONFIG)


def test_levels_that_are_no_integers_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be integers"):
        dequantise(QuantisedKeypoints(np.zeros((3, 3))), CONFIG)  # type: ignore[arg-type]


def test_levels_follow_the_bits() -> None:
    assert num_levels(CONFIG).tolist() == [256, 256, 16]
