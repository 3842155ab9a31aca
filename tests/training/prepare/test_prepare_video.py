from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from codec.errors import OutputError, TrainingError
from codec.face import Picture
from training.prepare.clip_file import ClipFile
from training.prepare.task import Seconds
from training.prepare.video import read_pictures

MakeScene = Callable[..., list[Picture]]
WriteVideo = Callable[..., Path]
ReadVideo = Callable[[Path], list[Picture]]
WHOLE = Seconds(0.0, math.inf)


def test_a_stretch_holds_its_frames_and_no_others(
    tmp_path: Path, scene: MakeScene, write_video: WriteVideo, read_video: ReadVideo
) -> None:
    video = write_video(tmp_path / "video.mp4", scene(60))
    pictures = list(read_pictures(video, Seconds(0.99, 1.81), 30))
    assert [picture.time_s for picture in pictures] == pytest.approx([number / 25 for number in range(25, 46)])
    whole = read_video(video)
    assert np.array_equal(pictures[0].rgb, whole[25])


def test_times_count_from_the_first_picture(tmp_path: Path, scene: MakeScene, write_video: WriteVideo) -> None:
    video = write_video(tmp_path / "video.mkv", scene(30))
    later = tmp_path / "later.mkv"
    with av.open(str(video)) as source, av.open(str(later), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + 5000, packet.dts + 5000, stream
                target.mux(packet)
    times = [picture.time_s for picture in read_pictures(later, Seconds(0.5, math.inf), 30)]
    assert times[0] == pytest.approx(0.52, abs=0.02)
    assert times[-1] == pytest.approx(29 / 25, abs=0.01)


@pytest.mark.parametrize(("fps", "kept"), [(25, 25), (30, 30), (50, 25), (60, 30), (24, 24)])
def test_fast_videos_are_thinned_evenly(
    tmp_path: Path, fps: int, kept: int, scene: MakeScene, write_video: WriteVideo
) -> None:
    video = write_video(tmp_path / "video.mp4", scene(fps), fps)
    times = [picture.time_s for picture in read_pictures(video, WHOLE, 30)]
    assert len(times) == kept
    assert np.ptp(np.diff(times)) < 1e-3


def test_scene_cuts_are_marked(tmp_path: Path, scene: MakeScene, write_video: WriteVideo) -> None:
    pictures = scene(20, seed=1) + scene(20, [(150, 120)], seed=2) + scene(20, [(150, 124)], seed=2)
    video = write_video(tmp_path / "video.mp4", pictures)
    assert [number for number, picture in enumerate(read_pictures(video, WHOLE, 30)) if picture.is_cut] == [20]


def test_a_turned_phone_gives_upright_pictures(tmp_path: Path, scene: MakeScene, write_video: WriteVideo) -> None:
    pictures = scene(4)
    video = write_video(tmp_path / "video.mp4", [np.rot90(rgb, -1) for rgb in pictures], rotation=90)
    (first, *_) = read_pictures(video, WHOLE, 30)
    assert first.rgb.shape == pictures[0].shape
    assert np.abs(first.rgb.astype(int) - pictures[0]).mean() < 6


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"this is no video")
    with pytest.raises(TrainingError, match="cannot be decoded"):
        list(read_pictures(tmp_path / "bad.mp4", WHOLE, 30))


def test_a_clip_keeps_its_times_and_rate(tmp_path: Path, scene: MakeScene, read_video: ReadVideo) -> None:
    pictures = [rgb[:64, :64] for rgb in scene(30)]
    with ClipFile(tmp_path / "clips" / "clip.mp4", 64, 10) as file:
        for number, rgb in enumerate(pictures):
            file.add(rgb, 7.0 + number / 15)
        file.keep()
    with av.open(str(tmp_path / "clips" / "clip.mp4")) as container:
        stream = container.streams.video[0]
        times = [frame.time for frame in container.decode(stream)]
        assert (stream.width, stream.height, stream.codec_context.name) == (64, 64, "h264")
        assert float(stream.average_rate or 0) == pytest.approx(15, rel=0.01)
    assert times == pytest.approx([number / 15 for number in range(30)], abs=1e-3)
    close = np.stack(read_video(tmp_path / "clips" / "clip.mp4")).astype(int) - np.stack(pictures)
    assert np.abs(close).mean() < 6


def test_a_clip_that_is_not_kept_leaves_nothing(tmp_path: Path, scene: MakeScene) -> None:
    with ClipFile(tmp_path / "clip.mp4", 64, 10) as file:
        file.add(scene(1)[0][:64, :64], 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"clip\.mp4 cannot be written"):
        ClipFile(tmp_path / "file" / "clip.mp4", 64, 10)
