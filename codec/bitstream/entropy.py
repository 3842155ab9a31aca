"""Stage 4 of 8: symbols to the fewest bytes, and back.

    differences (3, K) --choose_scales, code_differences--> bytes --read_differences--> differences (3, K)
    values (K, 3)      --pack_values----------------------> bytes --unpack_values-----> values (K, 3)

Differences go through an asymmetric numeral system (Duda, "Asymmetric numeral systems", arXiv 1311.2540, section 3,
range variant) whose state is one big integer: a frame is some 100 bits, so nothing need be streamed out, no bit is
lost to flushing, zero symbols at the end of a frame are free, and a decoder that does not end at state 0 was fed
damaged bytes. Integers alone decide every bit. Shape legend: K keypoints; 3 classes = (x, y, strength).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codec.errors import BitstreamError
from codec.structs import Integers

PRECISION_BITS = 12
ESCAPE = 15
ESCAPE_LENGTH_BITS = 4
SCALE_BITS = 3
# Laplacian mixtures of growing width. A scale with a shift codes the low bits of a symbol as they are.
SHIFTS = (0, 0, 0, 0, 0, 0, 1, 3)
FREQUENCIES = (
    (3855, 105, 105, 9, 9, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    (3401, 300, 300, 35, 35, 7, 7, 2, 2, 1, 1, 1, 1, 1, 1, 1),
    (2770, 519, 519, 105, 105, 25, 25, 8, 8, 3, 3, 1, 1, 1, 1, 2),
    (2052, 668, 668, 223, 223, 77, 77, 29, 29, 12, 12, 5, 5, 3, 3, 10),
    (1329, 667, 667, 339, 339, 174, 174, 90, 90, 47, 47, 26, 26, 14, 14, 53),
    (760, 516, 516, 353, 353, 242, 242, 166, 166, 114, 114, 79, 79, 55, 55, 286),
    (1279, 869, 595, 408, 281, 194, 134, 93, 65, 46, 33, 23, 17, 12, 9, 38),
    (1199, 838, 590, 416, 294, 209, 148, 106, 76, 54, 39, 29, 21, 16, 12, 49),
)
STARTS = tuple(tuple(sum(row[:index]) for index in range(ESCAPE + 1)) for row in FREQUENCIES)
_SLOT_MASK = (1 << PRECISION_BITS) - 1
_SYMBOL_OF_SLOT = tuple(bytes(np.repeat(np.arange(ESCAPE + 1, dtype=np.uint8), row)) for row in FREQUENCIES)
_MAX_COSTED = 512


def _log2_milli(value: int) -> int:
    """Return the floor of 1000 * log2(value), by integers alone."""
    return (value**1000).bit_length() - 1


def _cost_millibits(scale: int, symbol: int) -> int:
    shift = SHIFTS[scale]
    index, escaped_bits = symbol >> shift, 0
    if index >= ESCAPE:
        escaped_bits = ESCAPE_LENGTH_BITS + (index - ESCAPE + 1).bit_length() - 1
        index = ESCAPE
    return 1000 * (PRECISION_BITS + shift + escaped_bits) - _log2_milli(FREQUENCIES[scale][index])


_COSTS = np.array([[_cost_millibits(scale, s) for s in range(_MAX_COSTED)] for scale in range(len(SHIFTS))], np.int64)


def choose_scales(differences_3K: Integers) -> list[int]:
    """Return the scale of each class that makes its differences shortest, zeros at the frame's end counted too."""
    cheapest_3 = _COSTS[:, np.minimum(differences_3K, _MAX_COSTED - 1)].sum(axis=2).argmin(axis=0)
    scales: list[int] = cheapest_3.tolist()
    return scales


def code_differences(differences_3K: Integers, scales: Sequence[int]) -> bytes:
    """Code zigzag differences.

    Args:
        differences_3K: not negative, below 2**13.
        scales: of x, of y and of strength, each an index of ``FREQUENCIES``.
    """
    rows: list[list[int]] = differences_3K.tolist()
    state = 0
    # The last symbol pushed is the first popped.
    for scale, row in zip(reversed(scales), reversed(rows), strict=True):
        for symbol in reversed(row):
            state = _push(state, symbol, scale)
    for scale in reversed(scales):
        state = state << SCALE_BITS | scale
    return state.to_bytes((state.bit_length() + 7) // 8, "little")


def _push(state: int, symbol: int, scale: int) -> int:
    shift = SHIFTS[scale]
    index = symbol >> shift
    if shift:
        state = state << shift | (symbol & ((1 << shift) - 1))
    if index >= ESCAPE:
        excess = index - ESCAPE + 1
        length = excess.bit_length() - 1
        state = (state << length | (excess ^ 1 << length)) << ESCAPE_LENGTH_BITS | length
        index = ESCAPE
    frequency = FREQUENCIES[scale][index]
    quotient, remainder = divmod(state, frequency)
    return (quotient << PRECISION_BITS) + STARTS[scale][index] + remainder


def read_differences(coded: bytes, num_keypoints: int) -> Integers:
    """Read what ``code_differences`` wrote.

    Returns:
        Zigzag differences, (3, K).

    Raises:
        BitstreamError: the bytes are not what any encoder writes.
    """
    if coded and not coded[-1]:
        raise BitstreamError("coded differences end with a zero byte")
    state = int.from_bytes(coded, "little")
    scales = []
    for _ in range(3):
        scales.append(state & ((1 << SCALE_BITS) - 1))
        state >>= SCALE_BITS
    symbols: list[int] = []
    for scale in scales:
        state = _pop_row(state, scale, num_keypoints, symbols)
    if state:
        raise BitstreamError("coded differences do not end where their last symbol does")
    return np.array(symbols, dtype=np.int32).reshape(3, num_keypoints)


def _pop_row(state: int, scale: int, count: int, symbols: list[int]) -> int:
    frequencies, starts, slots, shift = FREQUENCIES[scale], STARTS[scale], _SYMBOL_OF_SLOT[scale], SHIFTS[scale]
    for _ in range(count):
        slot = state & _SLOT_MASK
        index = slots[slot]
        state = frequencies[index] * (state >> PRECISION_BITS) + slot - starts[index]
        if index == ESCAPE:
            length = state & ((1 << ESCAPE_LENGTH_BITS) - 1)
            state >>= ESCAPE_LENGTH_BITS
            index += (1 << length | (state & ((1 << length) - 1))) - 1
            state >>= length
        if shift:
            index = index << shift | (state & ((1 << shift) - 1))
            state >>= shift
        symbols.append(index)
    return state


def pack_values(values: Sequence[int], bits: Sequence[int]) -> bytes:
    """Pack integers at given widths, most significant bit first, the last byte filled up with zero bits."""
    packed = 0
    for value, width in zip(values, bits, strict=True):
        packed = packed << width | value
    num_bytes = (sum(bits) + 7) // 8
    return (packed << (8 * num_bytes - sum(bits))).to_bytes(num_bytes, "big")


def unpack_values(packed: bytes, bits: Sequence[int]) -> list[int]:
    """Read what ``pack_values`` wrote.

    Raises:
        BitstreamError: another number of bytes, or the filling bits are not zero.
    """
    total = sum(bits)
    num_bytes = (total + 7) // 8
    if len(packed) != num_bytes:
        raise BitstreamError(f"packed values have {len(packed)} bytes; they must have {num_bytes}")
    state = int.from_bytes(packed, "big")
    filling = 8 * num_bytes - total
    if state & ((1 << filling) - 1):
        raise BitstreamError("the filling bits of packed values are not zero")
    state >>= filling
    values = []
    for width in reversed(bits):
        values.append(state & ((1 << width) - 1))
        state >>= width
    return values[::-1]
