"""Stage 4 of 8: symbols to the fewest bytes, and back.

    SymbolWriter: bits, symbols, integers -> bytes -> SymbolReader: the same in the same order

An asymmetric numeral system (Duda, "Asymmetric numeral systems", arXiv 1311.2540, section 3, range variant) whose state
is one big integer: a frame is some 50 bits, so nothing need be streamed out, no bit is lost to flushing, most likely
symbols at the end of a frame are free, and a decoder that does not end at state 0 was fed damaged bytes. Integers alone
decide every bit. (A range coder of a kept library flushes 32 bits, which is most of a frame.)
"""

from __future__ import annotations

from bisect import bisect_right

from codec.bitstream.priors import ESCAPE, PRECISION_BITS
from codec.errors import BitstreamError

ESCAPE_LENGTH_BITS = 4
_SLOT_MASK = (1 << PRECISION_BITS) - 1

Row = tuple[list[int], list[int]]
"""Frequencies of a table's symbols, and where each one's range begins."""


class SymbolWriter:
    """Collects symbols; the last one put is the first that goes into the state."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, int]] = []

    def bits(self, value: int, num_bits: int) -> None:
        """Put an integer as it is."""
        self._steps.append((0, value, num_bits))

    def symbol(self, symbol: int, row: Row) -> None:
        """Put a symbol of a table."""
        frequencies, starts = row
        self._steps.append((frequencies[symbol], starts[symbol], 0))

    def integer(self, value: int, row: Row) -> None:
        """Put a signed integer: 0, -1, 1, -2, 2 ... are symbols of the table; what is farther escapes."""
        zigzag = value << 1 if value >= 0 else (-value << 1) - 1
        if zigzag < ESCAPE:
            self.symbol(zigzag, row)
            return
        self.symbol(ESCAPE, row)
        excess = zigzag - ESCAPE + 1
        length = excess.bit_length() - 1
        self.bits(length, ESCAPE_LENGTH_BITS)
        self.bits(excess ^ 1 << length, length)

    def to_bytes(self) -> bytes:
        """Return all that was put."""
        state = 0
        for frequency, start, num_bits in reversed(self._steps):
            if frequency:
                quotient, remainder = divmod(state, frequency)
                state = (quotient << PRECISION_BITS) + start + remainder
            else:
                state = state << num_bits | start
        return state.to_bytes((state.bit_length() + 7) // 8, "little")


class SymbolReader:
    """Takes what a ``SymbolWriter`` put.

    Args:
        coded: from the network.

    Raises:
        BitstreamError: the last byte is 0, which no encoder writes.
    """

    def __init__(self, coded: bytes) -> None:
        if coded and not coded[-1]:
            raise BitstreamError("coded frame ends with a zero byte")
        self._state = int.from_bytes(coded, "little")

    def bits(self, num_bits: int) -> int:
        """Take an integer as it is."""
        value = self._state & (1 << num_bits) - 1
        self._state >>= num_bits
        return value

    def symbol(self, row: Row) -> int:
        """Take a symbol of a table."""
        frequencies, starts = row
        slot = self._state & _SLOT_MASK
        symbol = bisect_right(starts, slot) - 1
        self._state = frequencies[symbol] * (self._state >> PRECISION_BITS) + slot - starts[symbol]
        return symbol

    def integer(self, row: Row) -> int:
        """Take a signed integer."""
        zigzag = self.symbol(row)
        if zigzag == ESCAPE:
            length = self.bits(ESCAPE_LENGTH_BITS)
            zigzag += (1 << length | self.bits(length)) - 1
        return zigzag >> 1 if zigzag % 2 == 0 else -(zigzag + 1 >> 1)

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            BitstreamError: something is: the bytes are damaged.
        """
        if self._state:
            raise BitstreamError("coded frame does not end where its last symbol does")
