"""Stage 4 of 8: symbols to the fewest bytes, and back.

    SymbolWriter: bits, symbols, integers -> bytes -> SymbolReader: the same in the same order

Arithmetic coding as in the book (Rissanen and Langdon, "Arithmetic coding", IBM Journal of Research and Development 23,
1979), with integers that are simply let grow: a frame is some 40 bits, so nothing need be streamed out, renormalised or
carried, and the code is the shortest byte string that lies in the last interval. A coder of a kept library flushes a
state of 32 or 64 bits, as large as the frame itself; an asymmetric numeral system of one growing integer begins with up
to 12 wasted bits. Bytes that are not the shortest are refused: they were damaged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from codec.bitstream.priors import ESCAPE, PRECISION_BITS
from codec.errors import BitstreamError

ESCAPE_LENGTH_BITS = 4
SMALL_BITS = 100
"""Symbols are joined to the whole in runs of about so many bits: arithmetic with small integers is faster."""

Row = tuple[list[int], list[int]]
"""Frequencies of a table's symbols, and where each one's range begins."""


class SymbolWriter:
    """Narrows the interval [low, low + width) / 2**bits by each symbol."""

    def __init__(self) -> None:
        self._low = 0
        self._width = 1
        self._num_bits = 0

    def copy(self) -> SymbolWriter:
        """Return another that goes on from the same symbols."""
        other = SymbolWriter()
        other._low, other._width, other._num_bits = self._low, self._width, self._num_bits
        return other

    def bits(self, value: int, num_bits: int) -> None:
        """Put an integer as it is."""
        self._low = (self._low << num_bits) + value * self._width
        self._num_bits += num_bits

    def symbol(self, symbol: int, row: Row) -> None:
        """Put a symbol of a table."""
        frequencies, starts = row
        self._low = (self._low << PRECISION_BITS) + starts[symbol] * self._width
        self._width *= frequencies[symbol]
        self._num_bits += PRECISION_BITS

    def integer(self, value: int, row: Row) -> None:
        """Put a signed integer: 0, -1, 1, -2, 2 ... are symbols of the table; what is farther escapes."""
        self.integers([value], [row])

    def integers(self, values: Iterable[int], rows: Iterable[Row]) -> None:
        """Put signed integers, each by its table."""
        low, width, num_bits = 0, 1, 0  # of a run of symbols alone
        for value, (frequencies, starts) in zip(values, rows, strict=True):
            zigzag = value << 1 if value >= 0 else (-value << 1) - 1
            symbol = zigzag if zigzag < ESCAPE else ESCAPE
            low = (low << PRECISION_BITS) + starts[symbol] * width
            width *= frequencies[symbol]
            num_bits += PRECISION_BITS
            if symbol == ESCAPE:
                excess = zigzag - ESCAPE + 1
                length = excess.bit_length() - 1
                escape_bits = ESCAPE_LENGTH_BITS + length
                low = (low << escape_bits) + (length << length | excess ^ 1 << length) * width
                num_bits += escape_bits
            if num_bits > SMALL_BITS:
                self._join(low, width, num_bits)
                low, width, num_bits = 0, 1, 0
        self._join(low, width, num_bits)

    def _join(self, low: int, width: int, num_bits: int) -> None:
        self._low = (self._low << num_bits) + low * self._width
        self._width *= width
        self._num_bits += num_bits

    def to_bytes(self) -> bytes:
        """Return the shortest bytes that, read as a fraction, lie in the interval."""
        num_bytes = (self._num_bits + 7) // 8
        num_bytes = max(0, num_bytes - self._width.bit_length() // 8)
        while not self._holds(num_bytes):
            num_bytes += 1
        while num_bytes and self._holds(num_bytes - 1):
            num_bytes -= 1
        return self._first(num_bytes).to_bytes(num_bytes, "big")

    def _first(self, num_bytes: int) -> int:
        """Return the first number of so many bytes that is not below the interval."""
        shift = self._num_bits - 8 * num_bytes
        return -(-self._low >> shift) if shift >= 0 else self._low << -shift

    def _holds(self, num_bytes: int) -> bool:
        """Return whether a number of so many bytes lies in the interval."""
        shift = self._num_bits - 8 * num_bytes
        return shift < 0 or self._first(num_bytes) << shift < self._low + self._width


class SymbolReader:
    """Takes what a ``SymbolWriter`` put.

    Args:
        coded: from the network.
    """

    def __init__(self, coded: bytes) -> None:
        self._code = int.from_bytes(coded, "big")
        self._above = self._code  # how far the code lies above the interval's beginning
        self._width = 1 << 8 * len(coded)
        self._num_bits = 0
        self._is_empty = not coded

    def bits(self, num_bits: int) -> int:
        """Take an integer as it is."""
        value, self._above = divmod(self._above << num_bits, self._width)
        self._num_bits += num_bits
        return value

    def symbol(self, row: Row) -> int:
        """Take a symbol of a table."""
        frequencies, starts = row
        above = self._above << PRECISION_BITS
        symbol = bisect_right(starts, above // self._width) - 1
        self._above = above - starts[symbol] * self._width
        self._width *= frequencies[symbol]
        self._num_bits += PRECISION_BITS
        return symbol

    def integer(self, row: Row) -> int:
        """Take a signed integer."""
        zigzag = self.symbol(row)
        if zigzag == ESCAPE:
            length = self.bits(ESCAPE_LENGTH_BITS)
            zigzag += (1 << length | self.bits(length)) - 1
        return zigzag >> 1 if zigzag % 2 == 0 else -(zigzag + 1 >> 1)

    def end(self) -> None:
        """Check that no shorter bytes, and none before these, lie in the interval.

        Raises:
            BitstreamError: some do: the bytes are damaged.
        """
        step = 1 << self._num_bits
        is_first = self._above < step
        is_shortest = self._is_empty or self._above + (-self._code % 256) * step >= self._width
        if not (is_first and is_shortest):
            raise BitstreamError("coded frame does not end where its last symbol does")
