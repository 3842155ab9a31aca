from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from codec.errors import TrainingError
from codec.face import HEAD, Detector, Face, Picture
from training.prepare.config import FolderConfig
from training.prepare.cut import Cutter
from training.prepare.follow import BoxFollower, FaceFollower, Follower
from training.prepare.task import Box
from training.prepare.video import TimedPicture

MakeScene = Callable[..., list[Picture]]
ReadVideo = Callable[[Path], list[Picture]]
Marks = Detector
FPS = 25
NOWHERE = (-200.0, -200.0)


def timed(pictures: Iterable[Picture], cuts: Iterable[int] = ()) -> list[TimedPicture]:
    return [TimedPicture(rgb, number / FPS, number in cuts) for number, rgb in enumerate(pictures)]


def config(tmp_path: Path, **changes: float) -> FolderConfig:
    return FolderConfig(clips=tmp_path, out=tmp_path, size=64, **changes)  # type: ignore[arg-type]


def cutter(settings: FolderConfig, detector: Detector, box: Box | None = None, in_box: Box | None = None) -> Cutter:
    def new_follower() -> Follower:
        return BoxFollower(box) if box else FaceFollower(detector, HEAD, in_box)

    return Cutter(settings, "video.mp4", lambda number: settings.out / f"video-0-{number:02d}.mp4", new_follower)


def spans(cut: Cutter) -> list[tuple[float, float, int]]:
    return [(clip.start_s, clip.stop_s, clip.num_frames) for clip in cut.clips]


def test_a_steady_face_is_one_clip(tmp_path: Path, scene: MakeScene, read_video: ReadVideo, marks: Marks) -> None:
    cut = cutter(config(tmp_path), marks)
    cut.cut(timed(scene(60)))
    assert spans(cut) == [(0.0, 2.36, 60)]
    assert cut.left_out == []
    clip = cut.clips[0]
    assert clip.side == pytest.approx(70 / 0.48, abs=4)
    assert len(read_video(tmp_path / "video-0-00.mp4")) == 60


def test_a_scene_cut_ends_a_clip(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    cut = cutter(config(tmp_path), marks)
    cut.cut(timed(scene(40) + scene(10, seed=1) + scene(40, seed=2), cuts=(40, 50)))
    assert spans(cut) == [(0.0, 1.56, 40), (2.0, 3.56, 40)]
    assert [(row.start_s, row.stop_s, row.reason) for row in cut.left_out] == [(1.6, 1.96, "shorter than 1 s")]
    assert [clip.name for clip in cut.clips] == ["video-0-00", "video-0-01"]


def test_a_clip_ends_where_the_face_was_last_seen(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    cut = cutter(config(tmp_path), marks)
    cut.cut(timed(scene(60) + scene(60, [NOWHERE]) + scene(40)))
    first, second = spans(cut)
    assert first[0] == 0.0
    assert 1.8 < first[1] < 2.4
    assert 4.76 <= second[0] < 5.4
    assert {row.reason for row in cut.left_out} == {"no face"}
    assert cut.left_out[0].start_s == first[1]
    assert cut.left_out[-1].stop_s <= second[0]


def test_a_blink_of_absence_does_not_end_a_clip(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    cut = cutter(config(tmp_path), marks)
    cut.cut(timed(scene(30) + scene(15, [NOWHERE]) + scene(40)))
    assert [clip.num_frames for clip in cut.clips] == [85]


def test_a_face_at_the_edge_leaves_the_picture(tmp_path: Path, scene: MakeScene) -> None:
    class AtTheEdge:
        def detect(self, rgb: Picture) -> list[Face]:
            return [Face((-30.0, 50.0, 60.0, 140.0), 1.0, np.zeros((5, 2), dtype=np.float32))]

    cut = cutter(config(tmp_path), AtTheEdge())
    cut.cut(timed(scene(30)))
    (row,) = cut.left_out
    assert (row.start_s, row.stop_s, row.reason) == (0.0, 1.16, "the face leaves the picture")


def test_a_face_that_jumps_ends_a_clip(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    cut = cutter(config(tmp_path), marks)
    cut.cut(timed(scene(50, [(80, 110)]) + scene(50, [(240, 110)])))
    assert len(cut.clips) == 2
    assert cut.clips[0].left < 40 < 160 < cut.clips[1].left + cut.clips[1].side


def test_a_long_clip_goes_on_in_the_next(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    cut = cutter(config(tmp_path, max_s=1.6), marks)
    cut.cut(timed(scene(110)))
    assert [frames for _, _, frames in spans(cut)] == [41, 41, 28]
    assert cut.left_out == []


def test_a_small_face_is_left_out(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    cut = cutter(config(tmp_path, min_square=100), marks)
    cut.cut(timed(scene(40, side=40)))
    assert cut.clips == []
    (row,) = cut.left_out
    assert (row.start_s, row.stop_s, row.reason) == (0.0, 1.56, "the square is smaller than 100 pixels")


def test_the_face_in_the_box_is_followed(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    pictures = scene(40, [(240, 110)], side=50)
    for rgb, other in zip(pictures, scene(40, [(80, 110)], side=80), strict=True):
        rgb[:, :160] = other[:, :160]
    left, right = cutter(config(tmp_path), marks), cutter(config(tmp_path), marks, in_box=Box(0.5, 0.0, 1.0, 1.0))
    left.cut(timed(pictures))
    assert left.clips[0].left + left.clips[0].side / 2 < 120
    right.cut(timed(pictures))
    assert right.clips[0].left + right.clips[0].side / 2 > 220


def test_a_published_box_is_cut_as_it_is(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    pictures = scene(30)
    cut = cutter(config(tmp_path), marks, box=Box(0.25, 0.0, 0.75, 2 / 3))
    cut.cut(timed(pictures))
    (clip,) = cut.clips
    assert (clip.left, clip.top, clip.side, clip.num_frames) == (80, 0, 160, 30)


def test_what_was_cut_before_a_fault_stays(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    def failing() -> Iterator[TimedPicture]:
        yield from timed(scene(60))
        raise TrainingError("cannot be decoded")

    cut = cutter(config(tmp_path), marks)
    with pytest.raises(TrainingError, match="cannot be decoded"):
        cut.cut(failing())
    assert [clip.num_frames for clip in cut.clips] == [60]


def test_a_stop_leaves_no_half_clip(tmp_path: Path, scene: MakeScene, marks: Marks) -> None:
    def stopped() -> Iterator[TimedPicture]:
        yield from timed(scene(60))
        raise KeyboardInterrupt

    cut = cutter(config(tmp_path), marks)
    with pytest.raises(KeyboardInterrupt):
        cut.cut(stopped())
    assert cut.clips == []
    assert list(tmp_path.iterdir()) == []
