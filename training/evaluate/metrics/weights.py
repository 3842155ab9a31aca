"""Where the weights of metrics come from: a folder, a package, or a library's own download; results name which."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from codec.errors import TrainingError


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where weights came from.

    Attributes:
        name: file or package, for people.
        sha256: of the weights as they are used (of the file, where a library reads it itself), 64 hex digits.
    """

    name: str
    sha256: str


def tensors_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the hash of tensors in float32 with their names, whatever file they came in."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode() + weights[key].float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def file_source(name: str, *paths: Path) -> WeightsSource:
    """Return the source of weights that a library reads from files itself.

    Raises:
        TrainingError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    return WeightsSource(name, digest.hexdigest())


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        TrainingError: it is missing or damaged.
    """
    if not path.is_file():
        raise TrainingError(f"{path.parent} holds no {path.name}")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
