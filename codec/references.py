"""The bounded set of reference pictures that a receiver holds."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from codec.errors import ConfigError
from codec.frames import Rgb

MAX_REFERENCES = 4
TAG_BITS = 6
"""Of what a frame calls a reference."""


def reference_tags(sha256s: Sequence[str]) -> list[int]:
    """Return what frames call each reference of a set: a few bits of its hash, from 1 on; 0 where two have the same.

    Args:
        sha256s: of the pictures' coded bytes, hex digits.
    """
    tags = [1 + int(sha256[:8], 16) % ((1 << TAG_BITS) - 1) for sha256 in sha256s]
    return [tag if tags.count(tag) == 1 else 0 for tag in tags]


class ReferenceSet:
    """Reference pictures by the SHA-256 of their coded bytes, oldest first; the oldest goes when it is full.

    Args:
        max_references: how many it holds.

    Raises:
        ConfigError: ``max_references`` is not positive.
    """

    def __init__(self, max_references: int = MAX_REFERENCES) -> None:
        if max_references < 1:
            raise ConfigError(f"max_references is {max_references}; it must be at least 1")
        self.max_references = max_references
        self._pictures: dict[str, Rgb] = {}

    def __len__(self) -> int:
        """Return how many pictures it holds."""
        return len(self._pictures)

    def __contains__(self, sha256: object) -> bool:
        """Return whether it holds the picture."""
        return sha256 in self._pictures

    @property
    def sha256s(self) -> tuple[str, ...]:
        """Hashes of the pictures, oldest first."""
        return tuple(self._pictures)

    @property
    def rgbs(self) -> tuple[Rgb, ...]:
        """The pictures, uint8 (S, S, 3), oldest first."""
        return tuple(self._pictures.values())

    @property
    def pictures(self) -> tuple[tuple[str, Rgb], ...]:
        """Hashes and pictures of one moment, oldest first: for readers in other threads."""
        return tuple(self._pictures.items())

    @property
    def is_full(self) -> bool:
        """Whether a further picture would push out the oldest."""
        return len(self._pictures) >= self.max_references

    def keep(self, sha256s: Container[str]) -> bool:
        """Drop all pictures but those named; return whether there were any to drop."""
        dropped = [sha256 for sha256 in self._pictures if sha256 not in sha256s]
        for sha256 in dropped:
            del self._pictures[sha256]
        return bool(dropped)

    def replace(self, pictures: Iterable[tuple[str, Rgb]]) -> None:
        """Hold these pictures, oldest first, and no others.

        Raises:
            ConfigError: they are more than it holds.
        """
        replaced = dict(pictures)
        if len(replaced) > self.max_references:
            raise ConfigError(f"{len(replaced)} references; at most {self.max_references} are held")
        self._pictures = replaced

    def add(self, sha256: str, rgb: Rgb) -> bool:
        """Add a picture; drop the oldest when full.

        Returns:
            False when it was there already.
        """
        if sha256 in self._pictures:
            return False
        while self.is_full:
            del self._pictures[next(iter(self._pictures))]
        self._pictures[sha256] = rgb
        return True
