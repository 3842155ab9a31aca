"""Stage 4 of 8: values to differences from an earlier frame, and back.

    values (K, 3), base (K, 3) --differences--> zigzag (3, K) --reconstruct--> values (K, 3)

Closed loop: the base is what the receiver reconstructed, which is exactly what was sent, as values are integers.
Shape legend: K keypoints; 3 = (x, y, strength).
"""

from __future__ import annotations

import numpy as np

from codec.errors import BitstreamError
from codec.structs import Integers


def differences(values_K3: Integers, base_K3: Integers) -> Integers:
    """Return the zigzag differences from the base: 0, -1, 1, -2, 2, ... become 0, 1, 2, 3, 4, ..."""
    signed_3K = (values_K3 - base_K3).T
    return ((signed_3K << 1) ^ (signed_3K >> 31)).astype(np.int32)


def reconstruct(zigzag_3K: Integers, base_K3: Integers, levels_3: Integers) -> Integers:
    """Add zigzag differences to the base.

    Args:
        zigzag_3K: not negative.
        base_K3: values of the base frame.
        levels_3: number of values of x, of y and of strength.

    Raises:
        BitstreamError: a sum is out of range.
    """
    signed_3K = (zigzag_3K >> 1) ^ -(zigzag_3K & 1)
    values_K3 = base_K3 + signed_3K.T
    if (values_K3 < 0).any() or (values_K3 >= levels_3).any():
        raise BitstreamError("a predicted value is out of range")
    return values_K3
