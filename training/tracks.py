"""Keypoints of clips over time, as a sender finds them: what the bitstream's priors are learned from.

    clips/*.mp4 -> detector, aligner -> tracks, (F, K, 3) float each, kept in a file

Shape legend: F frames, K keypoints, 3 = (x, y, strength).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track

from codec import Encoder, Model
from codec.errors import TrainingError
from training.evaluate.clips import Frames, find_clips, read_clip, reference_positions

Track = npt.NDArray[np.float32]

NUM_REFERENCES = 3
WEIGHTS = "weights"
FPS = "@fps"


def find_tracks(
    clips: Path, model: Model, limit: int = 0, store: Path | None = None, num_frames: int = 0
) -> dict[str, tuple[Track, float]]:
    """Return the keypoints of a folder's clips, from a file where they were found before.

    They are aligned to three of the clip's frames, as evaluation gives them to both ends.

    Args:
        clips: folder of mp4 clips.
        model: whose detector.
        limit: at most this many clips, as many of each source as may be; 0 takes all.
        store: npz file to read, or to write when it is not there or of another model.
        num_frames: of each clip that is not in the file, from its beginning; 0 takes all.

    Returns:
        (F, K, 3) and frames a second, by the clip's name.

    Raises:
        TrainingError: no clip can be read.
    """
    paths = spread(find_clips(clips), limit)
    known = {} if store is None else _read(store, model)
    tracks: dict[str, tuple[Track, float]] = {}
    for path in track([path for path in paths if path.stem not in known], "keypoints"):
        clip = read_clip(path, model.config.image_size)
        frames_NSS3 = clip.frames_NSS3[: num_frames or None]
        references = reference_positions(len(frames_NSS3), max(0, min(NUM_REFERENCES, len(frames_NSS3) - 2)))
        tracks[path.stem] = keypoints_of(frames_NSS3, model, references), clip.fps
    if store is not None and tracks:
        _write(store, model, known | tracks)
    return {path.stem: (known | tracks)[path.stem] for path in paths}


def spread(paths: list[Path], limit: int) -> list[Path]:
    """Return some clips, taken in turn from each source; a source is a name without its last number."""
    turns: dict[str, int] = {}
    order = []
    for path in paths:
        source = path.stem.rpartition("-")[0]
        turns[source] = turns.get(source, -1) + 1
        order.append((turns[source], path))
    chosen = sorted(order)[:limit] if limit else order
    return sorted(path for _, path in chosen)


def keypoints_of(frames_NSS3: Frames, model: Model, references: Sequence[int]) -> Track:
    """Return the keypoints of pictures, aligned to some of them, (F, K, 3)."""
    encoder = Encoder(model)
    encoder.set_references([frames_NSS3[position] for position in references])
    rows = []
    for rgb in frames_NSS3:
        keypoints = encoder.align(encoder.detect(rgb), rgb)
        rows.append(torch.cat([keypoints.locations_BKC, keypoints.strengths_BK[..., None]], dim=-1).numpy())
    return np.concatenate(rows).astype(np.float32)


def _read(store: Path, model: Model) -> dict[str, tuple[Track, float]]:
    if not store.is_file():
        return {}
    try:
        with np.load(store, allow_pickle=False) as arrays:
            if str(arrays[WEIGHTS]) != model.sha256:
                return {}
            names = [name for name in arrays.files if name != WEIGHTS and not name.endswith(FPS)]
            return {name: (arrays[name], float(arrays[name + FPS])) for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{store} is not a file of tracks: {error}") from error


def _write(store: Path, model: Model, tracks: dict[str, tuple[Track, float]]) -> None:
    arrays: dict[str, npt.NDArray[np.float32] | np.float64 | str] = {WEIGHTS: model.sha256}
    for name, (values_FK3, fps) in tracks.items():
        arrays[name], arrays[name + FPS] = values_FK3, np.float64(fps)
    with store.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
