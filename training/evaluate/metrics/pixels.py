"""Evaluation metrics of pixels: PSNR, L1, the temporal error and flicker.

Pictures are uint8 RGB, 0 to 255. Shape legend: N frames, H height, W width, 3 RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]

PEAK = 255.0
MAX_PSNR_DB = 100.0
# A source's pixel rests where none of its channels changes by more than this: noise and rounding of a lossy source.
RESTING = 2


def mean_squared_error(a_NHW3: Frames, b_NHW3: Frames) -> Values:
    """Return the mean squared error of each frame, (N,), in squared steps of 0 to 255."""
    return np.asarray(np.square(_difference(a_NHW3, b_NHW3)).mean(axis=(1, 2, 3), dtype=np.float64))


def psnr_db(mean_squared_error_N: Values) -> Values:
    """Return the PSNR of each frame in dB; identical pictures count as 100 dB.

    A clip's PSNR is the mean of its frames' (the PSNR of the clip's mean squared error would be lower).
    """
    floor = PEAK**2 / 10 ** (MAX_PSNR_DB / 10)
    return 10 * np.log10(PEAK**2 / np.maximum(mean_squared_error_N, floor))


def mean_absolute_error(a_NHW3: Frames, b_NHW3: Frames) -> Values:
    """Return the L1 distance of each frame, (N,), in steps of 0 to 255 as the paper prints it."""
    return np.asarray(np.abs(_difference(a_NHW3, b_NHW3)).mean(axis=(1, 2, 3), dtype=np.float64))


def temporal_error(before_HW3: Frames, now_HW3: Frames, source_before_HW3: Frames, source_now_HW3: Frames) -> float:
    """Return how far the change between two neighbouring frames is from the source's, in steps of 0 to 255.

    The mean absolute value of ``(now - before) - (source_now - source_before)``: a picture that swims or flickers where
    the source rests scores high, and so does one that rests where the source moves.
    """
    change, source_change = _change(before_HW3, now_HW3), _change(source_before_HW3, source_now_HW3)
    return float(np.abs(change - source_change).mean(dtype=np.float64))


def flicker(before_HW3: Frames, now_HW3: Frames, source_before_HW3: Frames, source_now_HW3: Frames) -> float | None:
    """Return the temporal error of the pixels where the source rests, in steps of 0 to 255; None where none rests.

    The temporal error's other half, a picture that rests where its source moves, has no part in it.
    """
    change, source_change = _change(before_HW3, now_HW3), _change(source_before_HW3, source_now_HW3)
    resting_HW = np.abs(source_change).max(axis=2) <= RESTING
    return float(np.abs(change - source_change)[resting_HW].mean(dtype=np.float64)) if resting_HW.any() else None


def _change(before_HW3: Frames, now_HW3: Frames) -> npt.NDArray[np.int16]:
    return now_HW3.astype(np.int16) - before_HW3


def _difference(a: Frames, b: Frames) -> npt.NDArray[Any]:
    return a.astype(np.float32) - b.astype(np.float32)
