from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codec.errors import TrainingError
from training.evaluate.clips import Frames, find_clips, read_clip, reference_positions, scored_positions

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


@pytest.mark.parametrize(
    ("num_frames", "num_references", "positions"),
    [(30, 1, (0,)), (30, 2, (0, 15)), (30, 3, (0, 10, 20)), (31, 3, (0, 10, 20)), (5, 3, (0, 1, 3))],
)
def test_references_are_evenly_spaced(num_frames: int, num_references: int, positions: tuple[int, ...]) -> None:
    assert reference_positions(num_frames, num_references) == positions


def test_too_short_for_the_references() -> None:
    with pytest.raises(TrainingError, match=r"has 4 frame\(s\); 3 reference\(s\) need 5"):
        reference_positions(4, 3)


def test_references_are_not_scored() -> None:
    assert scored_positions(6, (0, 3), every=1) == (1, 2, 4, 5)


def test_every_keeps_neighbouring_pairs() -> None:
    assert scored_positions(20, (0, 10), every=3) == (1, 6, 7, 12, 13, 18, 19)


def test_reads_all_pictures(write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    frames = moving_pictures(5)
    clip = read_clip(write_clip("a.mp4", frames, fps=30), 64)
    np.testing.assert_array_equal(clip.frames_NSS3, frames)
    assert (clip.name, clip.fps, clip.file_size, len(clip)) == ("a.mp4", 30.0, (64, 64), 5)


def test_resamples_to_the_size_of_the_model(write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    clip = read_clip(write_clip("a.mp4", moving_pictures(3, size=96)), 64)
    assert clip.frames_NSS3.shape == (3, 64, 64, 3)
    assert clip.file_size == (96, 96)


def test_a_clip_that_is_not_square(write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    path = write_clip("a.mp4", moving_pictures(3)[:, :48])
    with pytest.raises(TrainingError, match="is 64x48, not square"):
        read_clip(path, 64)


def test_an_unreadable_clip(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0" * 100)
    with pytest.raises(TrainingError, match="cannot be decoded"):
        read_clip(tmp_path / "a.mp4", 64)


def test_a_truncated_clip(write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    path = write_clip("a.mp4", moving_pictures(3))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(TrainingError, match="cannot be decoded"):
        read_clip(path, 64)


def test_a_file_without_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 800)
    with pytest.raises(TrainingError, match="has no video"):
        read_clip(tmp_path / "a.mp4", 64)


def test_an_absent_clip(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read: No such file"):
        read_clip(tmp_path / "a.mp4", 64)


def test_finds_clips_by_name(tmp_path: Path) -> None:
    for name in ("c.mp4", "a.MP4", "b.mp4", "d.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_clips(tmp_path)] == ["a.MP4", "b.mp4", "c.mp4", "d.mp4"]
    assert [path.name for path in find_clips(tmp_path, limit=2)] == ["a.MP4", "c.mp4"]
    assert [path.name for path in find_clips(tmp_path, match="[!a]*")] == ["b.mp4", "c.mp4", "d.mp4"]
    with pytest.raises(TrainingError, match="holds no mp4 clip that matches x"):
        find_clips(tmp_path, match="x*")


def test_no_clips(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no mp4 clip"):
        find_clips(tmp_path)
    with pytest.raises(TrainingError, match="is not a folder"):
        find_clips(tmp_path / "absent")
