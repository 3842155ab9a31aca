from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluate.metrics.pixels import (
    flicker,
    mean_absolute_error,
    mean_squared_error,
    psnr_db,
    temporal_error,
)


def test_psnr_of_a_known_offset() -> None:
    a = np.full((2, 4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0] += 10
    b[1] += 20
    db = psnr_db(mean_squared_error(a, b))
    assert db == pytest.approx([20 * math.log10(255 / 10), 20 * math.log10(255 / 20)])


def test_psnr_of_identical_pictures_is_finite() -> None:
    a = np.zeros((1, 4, 4, 3), np.uint8)
    assert psnr_db(mean_squared_error(a, a)).tolist() == [100.0]


def test_errors_against_plain_loops() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 3, 5, 7, 3), dtype=np.uint8)
    for frame in range(3):
        pairs = list(zip(a[frame].ravel().tolist(), b[frame].ravel().tolist(), strict=True))
        assert mean_absolute_error(a, b)[frame] == pytest.approx(sum(abs(x - y) for x, y in pairs) / len(pairs))
        assert mean_squared_error(a, b)[frame] == pytest.approx(sum((x - y) ** 2 for x, y in pairs) / len(pairs))


def test_one_source_frame_stands_against_many() -> None:
    random = np.random.default_rng(1)
    a = random.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    assert mean_squared_error(a, a[:1])[0] == 0
    assert mean_squared_error(a, a[:1])[2] == mean_squared_error(a[2:], a[:1])[0]


def test_temporal_error_sees_changes_and_not_offsets() -> None:
    source = np.zeros((2, 4, 4, 3), np.uint8)
    source[1] = 7
    steady = source + np.uint8(50)
    assert temporal_error(steady[0], steady[1], source[0], source[1]) == 0
    assert temporal_error(steady[0], steady[0], source[0], source[1]) == 7
    flicker = steady.copy()
    flicker[1, :2] += 10
    assert temporal_error(flicker[0], flicker[1], source[0], source[1]) == 5


def test_temporal_error_does_not_wrap_around() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert temporal_error(black, white, white, black) == 510


def test_flicker_is_seen_where_the_source_rests_alone() -> None:
    source = np.full((2, 4, 4, 3), 100, np.uint8)
    source[1, :2] += 50
    received = source.copy()
    received[1, 2] += 8
    received[1, 0] = 0
    assert flicker(received[0], received[1], source[0], source[1]) == 4
    assert flicker(source[0], source[1], source[0], source[1]) == 0
    assert flicker(source[0], source[0], source[0], source[1]) == 0


def test_flicker_is_nothing_where_all_moves() -> None:
    source = np.zeros((2, 4, 4, 3), np.uint8)
    source[1, ..., 0] = 3
    assert flicker(source[0], source[1], source[0], source[1]) is None
    source[1, ..., 0] = 2
    assert flicker(source[0], source[0], source[0], source[1]) == pytest.approx(2 / 3)
