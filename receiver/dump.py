"""Pictures shown, kept for comparison with what the sender coded (``--dump``)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codec.errors import OutputError
from receiver.record import temporary_path

logger = logging.getLogger(__name__)

MAX_PICTURES = 2000


class PictureDump:
    """Collects pictures in memory and writes them as one ``.npz``.

    The file holds ``numbers`` (N,) int64, ``pictures`` (N, S, S, 3) uint8 and ``times_us`` (N,) int64, the moments at
    which they were shown, microseconds since the epoch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: list[int] = []
        self._pictures: list[npt.NDArray[np.uint8]] = []
        self._times_us: list[int] = []

    def __len__(self) -> int:
        """Return how many pictures it holds."""
        return len(self._pictures)

    def add(self, number: int, rgb: npt.NDArray[np.uint8], time_us: int) -> None:
        """Keep a picture; after ``MAX_PICTURES`` no more."""
        if len(self) == MAX_PICTURES:
            return
        self._numbers.append(number)
        self._pictures.append(rgb)
        self._times_us.append(time_us)
        if len(self) == MAX_PICTURES:
            logger.warning("--dump holds %d pictures, and no more", MAX_PICTURES)

    def write(self) -> Path:
        """Write the file under a temporary name, then rename it; return its path.

        Raises:
            OutputError: it cannot be written.
        """
        partial = temporary_path(self._path)
        try:
            with partial.open("wb") as file:
                np.savez(
                    file,
                    numbers=np.array(self._numbers, dtype=np.int64),
                    pictures=np.array(self._pictures, dtype=np.uint8)
                    if self._pictures
                    else np.zeros((0, 0, 0, 3), np.uint8),
                    times_us=np.array(self._times_us, dtype=np.int64),
                )
            os.replace(partial, self._path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OutputError(f"--dump {self._path}: {error.strerror or error}") from error
        return self._path
