"""Evaluation ``protocol``: the paper's reconstruction on the test list of one of its datasets.

    dataset, folder of clips, list of names -> paths, ReconstructConfig -> reconstruct

Supplement, sections A and B.1. The paper says which videos and how many sources; it does not say which frames are the
sources: here they are evenly spaced from the first on, as in ``reconstruct``. Where a dataset has more test videos than
the paper used (VoxCeleb2: ten an identity), ours are evenly spaced over their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from codec.errors import TrainingError
from training.evaluate.clips import find_clips
from training.evaluate.config import ReconstructConfig
from training.evaluate.protocol_config import ProtocolConfig


@dataclass(frozen=True, slots=True)
class Dataset:
    """How the paper tests on a dataset.

    Attributes:
        title: for people.
        size: height and width at which the paper reports, pixels.
        num_clips: test videos that the paper used.
        references: numbers of sources for which the paper prints figures.
        metrics: beyond those always measured.
        landmarks: AKD by MTCNN's landmarks; upper bodies have faces too small for it.
        per_identity: clips of each identity; 0 takes all.
    """

    title: str
    size: int
    num_clips: int
    references: tuple[int, ...]
    metrics: tuple[str, ...]
    landmarks: bool
    per_identity: int = 0


DATASETS = {
    "talkinghead-1kh": Dataset("TalkingHead-1KH", 512, 120, (1, 2, 3), ("fid",), landmarks=True),
    "voxceleb2": Dataset("VoxCeleb2", 256, 1180, (1,), ("fid",), landmarks=True, per_identity=10),
    "ted-talk": Dataset("TED-talk", 384, 128, (1, 2, 3), ("fid", "body"), landmarks=False),
}


def identity(path: Path) -> str:
    """Return whose clip of VoxCeleb2 it is: what stands before the first dash (``training.prepare``) or # (others)."""
    return re.split("[-#]", path.stem)[0]


def test_clips(config: ProtocolConfig) -> list[Path]:
    """Return the clips of a dataset's test.

    Raises:
        TrainingError: no clip, the list cannot be read, or one of its clips is missing.
    """
    paths = find_clips(config.clips)
    if config.test_list is not None:
        paths = listed(config.test_list, paths)
    per_identity = DATASETS[config.dataset].per_identity
    if per_identity:
        people: dict[str, list[Path]] = {}
        for path in paths:
            people.setdefault(identity(path), []).append(path)
        paths = [path for clips in people.values() for path in evenly(clips, per_identity)]
    return evenly(paths, config.limit)


def listed(file: Path, paths: list[Path]) -> list[Path]:
    """Return the clips that a list names, one a line, with or without folder and ending.

    Raises:
        TrainingError: the list cannot be read, is empty, or names a clip that is missing.
    """
    try:
        names = [Path(line.strip()).name for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{file} cannot be read: {error}") from error
    known = {key: path for path in paths for key in (path.name, path.stem)}
    missing = [name for name in names if name not in known]
    if missing or not names:
        what = f"{missing[0]}, the first of {len(missing)} clip(s) that are missing" if missing else "no clip"
        raise TrainingError(f"{file} names {what}")
    return [known[name] for name in dict.fromkeys(names)]


def evenly(paths: list[Path], limit: int) -> list[Path]:
    """Return at most ``limit`` paths, evenly spaced; 0 takes all."""
    if not 0 < limit < len(paths):
        return paths
    return [paths[index * len(paths) // limit] for index in range(limit)]


def reconstruction(config: ProtocolConfig) -> ReconstructConfig:
    """Return the settings of the paper's reconstruction."""
    dataset = DATASETS[config.dataset]
    return ReconstructConfig(
        clips=config.clips,
        out=config.out,
        references=dataset.references if config.references is None else config.references,
        weights=config.weights,
        device=config.device,
        loss_weights=config.loss_weights,
        frames=config.frames,
        every=config.every,
        landmarks=dataset.landmarks,
        metrics=dataset.metrics if config.metrics is None else config.metrics,
        slow_every=config.slow_every,
        strips=config.strips,
        jobs=config.jobs,
        cache=config.cache,
        debug=config.debug,
    )
