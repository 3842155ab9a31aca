"""Evaluation, memory: results, landmarks and features of clips that were measured before.

A result is found again by the hash of all that it depends on: clip, weights, settings, metric weights and the code of
codec and evaluation. Files are JSON, written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import codec
import training.evaluate
from codec.errors import OutputError, TrainingError
from training.evaluate.metrics.fid import Features, frechet_distance
from training.evaluate.metrics.landmarks import Landmarks

FEATURES = "fid_features"


def default_folder() -> Path:
    """Return the user's cache folder for evaluations (``XDG_CACHE_HOME`` is heeded)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "warpcall" / "evaluate"


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, with its folder.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text whole or not at all, with its folder.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def check_place(path: Path) -> None:
    """Make a file's folder, so that a long run does not fail at its end.

    Raises:
        OutputError: the folder cannot be made, or the file cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: " + ("it is a folder" if path.is_dir() else "permission denied"))


@cache
def code_sha256() -> str:
    """Return the hash of the code that decides results: codec without rtc and face, and this package."""
    digest = hashlib.sha256()
    for package in (codec, training.evaluate):
        folder = Path(package.__path__[0])
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.bin")]):
            name = path.relative_to(folder).as_posix()
            if not name.startswith(("rtc/", "face/")):
                digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class ResultCache:
    """Results by the hash of what they depend on.

    Args:
        folder: made when the first result is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, dependencies: dict[str, Any]) -> Path:
        """Return the file for what a result depends on."""
        text = json.dumps(dependencies, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def load(self, dependencies: dict[str, Any]) -> Any | None:
        """Return a stored result, or None; a damaged file counts as none."""
        try:
            return json.loads(self.path(dependencies).read_text())
        except (OSError, ValueError):
            return None

    def store(self, dependencies: dict[str, Any], result: Any) -> None:
        """Store a result.

        Raises:
            OutputError: it cannot be written.
        """
        write_json(self.path(dependencies), result)


class FeatureStore:
    """Features of pictures for FID, which need all clips at once; rows of clips hold the names of their files.

    Args:
        folder: made when the first are stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, sets_2ND: Features) -> str:
        """Keep the features of sources and of pictures, and return the file's name.

        Raises:
            OutputError: they cannot be written.
        """
        name = f"{hashlib.sha256(sets_2ND.tobytes()).hexdigest()[:32]}.npy"
        partial = self._folder / f"{name}.{os.getpid()}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.save(file, sets_2ND)
            partial.replace(self._folder / name)
        except OSError as error:
            raise OutputError(f"{self._folder / name} cannot be written: {error.strerror}") from error
        return name

    def holds(self, row: Any) -> bool:
        """Return whether all files that a row names are there."""
        if isinstance(row, dict):
            return all(
                (self._folder / str(value)).is_file() if str(key).endswith(FEATURES) else self.holds(value)
                for key, value in row.items()
            )
        return all(self.holds(value) for value in row) if isinstance(row, list) else True

    def fid(self, names: Iterable[str]) -> float | None:
        """Return FID of all pictures whose files are named; None for fewer than two.

        Raises:
            TrainingError: a file is missing or damaged.
        """
        sets = [self._load(name) for name in names]
        if sum(features_2ND.shape[1] for features_2ND in sets) < 2:
            return None
        source_ND, received_ND = np.concatenate(sets, axis=1)
        return frechet_distance(source_ND, received_ND)

    def _load(self, name: str) -> Features:
        try:
            return np.asarray(np.load(self._folder / name, allow_pickle=False), dtype=np.float32)
        except (OSError, ValueError) as error:
            raise TrainingError(f"{self._folder / name} cannot be read; run again with another --cache") from error


class LandmarkMemory:
    """The landmarks of one clip's own frames, which no weights change.

    Args:
        results: where they are kept between runs; None keeps them in memory alone.
        dependencies: clip, picture size and detector.
    """

    def __init__(self, results: ResultCache | None, dependencies: dict[str, Any]) -> None:
        self._results = results
        self._dependencies = dependencies
        stored = results.load(dependencies) if results is not None else None
        self._faces: dict[int, Landmarks] = {
            int(position): np.array(faces, dtype=np.float32).reshape(-1, 5, 2)
            for position, faces in (stored or {}).items()
        }

    def __contains__(self, position: int) -> bool:
        return position in self._faces

    def __getitem__(self, position: int) -> Landmarks:
        return self._faces[position]

    def __setitem__(self, position: int, faces: Landmarks) -> None:
        self._faces[position] = np.round(faces, 3)

    def save(self) -> None:
        """Keep them for the next run.

        Raises:
            OutputError: they cannot be written.
        """
        if self._results is not None:
            faces_of = {str(position): faces.tolist() for position, faces in sorted(self._faces.items())}
            self._results.store(self._dependencies, faces_of)
