"""Stage 5 of 8: the limits of a message's fields, and their checks.

What a peer sends is hostile until it went through these. docs/wire-format.md lists the same limits.
"""

from __future__ import annotations

from collections.abc import Mapping

from codec.errors import BitstreamError

NUM_NUMBERS = 1 << 16
WINDOW = 16
MAX_GROUP = 8
IDENTITY_BITS = 16
MAX_CONTROL_BYTES = 16_384
FRAGMENT_BYTES = 16_000
MAX_PENDING_PICTURES = 4
MAX_REFERENCES = 256
MAX_NAME_BYTES = 64
MAX_REASON_BYTES = 500
MAX_CLOCK_RATE_HZ = 10_000_000
MAX_TIME = (1 << 63) - 1


def check_range(what: str, value: int, low: int, high: int) -> None:
    """Check an integer.

    Raises:
        BitstreamError: outside [low, high].
    """
    if not low <= value <= high:
        raise BitstreamError(f"{what} is {value}; it must lie in [{low}, {high}]")


def name_of(value: int, names: Mapping[str, int], what: str) -> str:
    """Return the name of an enumerated value.

    Raises:
        BitstreamError: it has none.
    """
    for name, number in names.items():
        if number == value:
            return name
    raise BitstreamError(f"{what} is {value}; it must be one of {', '.join(names)}")


def sha256_hex(digest: bytes) -> str:
    """Return a digest as 64 hex digits.

    Raises:
        BitstreamError: not 32 bytes.
    """
    if len(digest) != 32:
        raise BitstreamError(f"a SHA-256 has {len(digest)} bytes; it must have 32")
    return digest.hex()


def peer_text(text: str, max_bytes: int) -> str:
    """Check the length of a peer's text, and take from it what would move a terminal's cursor.

    Raises:
        BitstreamError: longer than ``max_bytes`` in UTF-8.
    """
    if len(text.encode()) > max_bytes:
        raise BitstreamError(f"a text has more than {max_bytes} bytes")
    return one_line(text)


def one_line(text: str) -> str:
    """Replace each unprintable character by a blank."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def cut(text: str, max_bytes: int) -> str:
    """Cut a text at the last letter that ends within ``max_bytes`` of UTF-8."""
    return text.encode()[:max_bytes].decode(errors="ignore")
