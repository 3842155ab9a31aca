"""Beside stage 2: the squares as they were coded, kept for measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codec.errors import OutputError
from codec.face import Picture
from sender.stats import check_folder

MAX_PICTURES = 2000


class FrameDump:
    """Keeps the first pictures of a call with their frame numbers.

    Args:
        path: an ``.npz`` file with ``numbers`` (N,), ``pictures`` (N, S, S, 3) uint8 and ``times_us`` (N,): capture
            times in microseconds since the epoch.

    Raises:
        OutputError: there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        check_folder(path)
        self._path = path
        self._frames: list[tuple[int, Picture, int]] = []

    def add(self, number: int, rgb: Picture, time_us: int) -> None:
        """Keep a picture, if there is room."""
        if len(self._frames) < MAX_PICTURES:
            self._frames.append((number, rgb, time_us))

    def save(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        size = self._frames[0][1].shape[0] if self._frames else 0
        pictures = np.empty((len(self._frames), size, size, 3), dtype=np.uint8)
        for index, (_, rgb, _) in enumerate(self._frames):
            pictures[index] = rgb
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            with partial.open("wb") as file:
                np.savez(
                    file,
                    numbers=np.array([number for number, _, _ in self._frames], dtype=np.int64),
                    pictures=pictures,
                    times_us=np.array([time_us for _, _, time_us in self._frames], dtype=np.int64),
                )
            partial.replace(self._path)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error
