from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from codec import Model
from codec.errors import TrainingError
from codec.frames import rgb_from_frame
from training.evaluate.clips import Frames, read_clip
from training.evaluate.metrics.vmaf import luma
from training.evaluate.study.material import Material
from training.evaluate.study.video import spoilt, webm
from training.evaluate.transmission import Transmission

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


def pictures_of(data: bytes) -> Frames:
    with av.open(io.BytesIO(data), "r") as container:
        return np.stack([rgb_from_frame(frame) for frame in container.decode(video=0)])


def difference(a: Frames, b: Frames) -> float:
    """Mean difference in luma: colours are halved in size, which these pictures show more than faces do."""
    return float(np.abs(luma(a).astype(int) - luma(b)).mean())


def test_videos_are_nearly_what_went_in(moving_pictures: MakePictures) -> None:
    frames = moving_pictures(6)
    played = pictures_of(webm(frames, 25))
    assert played.shape == frames.shape
    assert difference(played, frames) < 1.5


def test_spoilt_pictures_are_plainly_worse() -> None:
    random = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert spoilt(random).shape == random.shape
    assert difference(spoilt(random), random) > 20


def test_a_clip_gives_pairs_for_each_part(
    write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model, tmp_path: Path
) -> None:
    frames = moving_pictures(20)
    path = write_clip("a.mp4", frames)
    write_clip("a.mkv", 255 - frames, folder="negative")
    material = Material()
    material.add_clip(path, tiny_model, {"frozen": None, "negative": tmp_path / "negative"}, 2, 0.2)
    assert [(pair.clip, pair.methods) for pair in material.pairs] == [
        (f"a.mp4 {part}", ("warpcall", other))
        for part in ("start", "middle", "end")
        for other in ("frozen", "negative")
    ]
    middle = material.pairs[3]
    shown = slice(7, 12)
    assert difference(pictures_of(material.files[middle.original]), frames[shown]) < 1.5
    assert difference(pictures_of(material.files[middle.videos[1]]), 255 - frames[shown]) < 1.5
    clip = read_clip(path, 64)
    ours = Transmission(clip, tiny_model, [clip.frames_NSS3[0], clip.frames_NSS3[10]]).pictures(range(7, 12))
    assert difference(pictures_of(material.files[middle.videos[0]]), ours) < 1.5
    frozen = pictures_of(material.files[material.pairs[0].videos[1]])
    assert difference(frozen, np.repeat(frames[:1], 5, axis=0)) < 1.5
    (check,) = material.checks
    assert (check.methods, check.videos[0], check.is_check) == (("original", "spoilt"), check.original, True)


def test_names_of_files_say_nothing(write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model) -> None:
    material = Material()
    material.add_clip(write_clip("a.mp4", moving_pictures(8)), tiny_model, {"frozen": None}, 1, 4.0)
    assert all(len(name) == len("0123456789abcdef.webm") and name.endswith(".webm") for name in material.files)


@pytest.mark.parametrize(
    ("num_frames", "message"), [(None, "negative has no such clip in"), (7, r"negative's a\.mp4 has 7 frames, not 8")]
)
def test_videos_that_do_not_fit(
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    tiny_model: Model,
    tmp_path: Path,
    num_frames: int | None,
    message: str,
) -> None:
    path = write_clip("a.mp4", moving_pictures(8))
    if num_frames is not None:
        write_clip("a.mp4", moving_pictures(num_frames), folder="negative")
    material = Material()
    with pytest.raises(TrainingError, match=message):
        material.add_clip(path, tiny_model, {"negative": tmp_path / "negative"}, 1, 4.0)
    assert not material.pairs


def test_a_video_of_theirs_that_is_damaged(
    write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model, tmp_path: Path
) -> None:
    path = write_clip("a.mp4", moving_pictures(8))
    write_clip("a.mp4", moving_pictures(8), folder="negative").write_bytes(b"noise")
    with pytest.raises(TrainingError, match=r"negative's a\.mp4 cannot be decoded"):
        Material().add_clip(path, tiny_model, {"negative": tmp_path / "negative"}, 1, 4.0)
