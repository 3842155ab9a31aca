"""Keypoints of clips over time, as a sender finds them: what the bitstream's priors are learned from.

    clips/*.mp4 -> detector, aligner -> tracks, kept in a file

Shape legend: F frames, K keypoints, 3 = (x, y, strength).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track

from codec import Encoder, Model
from codec.errors import TrainingError
from training.evaluate.clips import Frames, find_clips, read_clip, reference_positions

NUM_REFERENCES = 3
WEIGHTS = "weights"
FPS = "@fps"
REFERENCES = "@references"

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What a sender tells of a clip.

    Attributes:
        values_FK3: float32.
        references_F: tag of the reference nearest to each frame; 0 for none.
        fps: frames a second.
    """

    values_FK3: Values
    references_F: npt.NDArray[np.int32]
    fps: float

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.values_FK3)


def find_tracks(
    clips: Path, model: Model, limit: int = 0, store: Path | None = None, num_frames: int = 0
) -> dict[str, Track]:
    """Return the keypoints of a folder's clips, from a file where they were found before.

    They are aligned to three of the clip's frames, as evaluation gives them to both ends.

    Args:
        clips: folder of mp4 clips.
        model: whose detector.
        limit: at most this many clips, as many of each source as may be; 0 takes all.
        store: npz file to read, or to write when it is not there or of another model.
        num_frames: of each clip that is not in the file, from its beginning; 0 takes all.

    Returns:
        Tracks by the clip's name.

    Raises:
        TrainingError: no clip can be read.
    """
    paths = spread(find_clips(clips), limit)
    known = {} if store is None else _read(store, model)
    tracks: dict[str, Track] = {}
    for path in track([path for path in paths if path.stem not in known], "keypoints"):
        clip = read_clip(path, model.config.image_size)
        frames_NSS3 = clip.frames_NSS3[: num_frames or None]
        references = reference_positions(len(frames_NSS3), max(0, min(NUM_REFERENCES, len(frames_NSS3) - 2)))
        tracks[path.stem] = keypoints_of(frames_NSS3, model, references, clip.fps)
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


def keypoints_of(frames_NSS3: Frames, model: Model, references: Sequence[int], fps: float = 25.0) -> Track:
    """Return the keypoints of pictures, aligned to some of them; the first of these is tag 1."""
    encoder = Encoder(model)
    encoder.set_references([frames_NSS3[position] for position in references])
    rows, tags = [], []
    for rgb in frames_NSS3:
        keypoints, tag = encoder.align(encoder.detect(rgb), rgb)
        rows.append(torch.cat([keypoints.locations_BKC, keypoints.strengths_BK[..., None]], dim=-1).numpy())
        tags.append(tag)
    return Track(np.concatenate(rows).astype(np.float32), np.array(tags, dtype=np.int32), fps)


def _read(store: Path, model: Model) -> dict[str, Track]:
    if not store.is_file():
        return {}
    try:
        with np.load(store, allow_pickle=False) as arrays:
            if str(arrays[WEIGHTS]) != model.sha256:
                return {}
            names = [name for name in arrays.files if name != WEIGHTS and not name.endswith((FPS, REFERENCES))]
            return {name: Track(arrays[name], arrays[name + REFERENCES], float(arrays[name + FPS])) for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{store} is not a file of tracks: {error}") from error


def _write(store: Path, model: Model, tracks: dict[str, Track]) -> None:
    arrays: dict[str, npt.NDArray[np.float32 | np.int32] | np.float64 | str] = {WEIGHTS: model.sha256}
    for name, track_of_clip in tracks.items():
        arrays[name], arrays[name + FPS] = track_of_clip.values_FK3, np.float64(track_of_clip.fps)
        arrays[name + REFERENCES] = track_of_clip.references_F
    with store.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
