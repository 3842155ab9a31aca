from __future__ import annotations

import itertools
import queue
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from codec.errors import CaptureError
from sender.capture import Frame, Reader, Timeline
from sender.source import (
    Source,
    has_audio,
    open_camera,
    open_file,
    open_microphone,
    open_test_pattern,
)

TIMEOUT_S = 20.0


class Reading:
    """Reads a source and keeps what came."""

    def __init__(self, source: Source, timeline: Timeline | None = None, most: int | None = None) -> None:
        self.frames: list[Frame] = []
        self.times_us: list[int] = []
        self._most = most
        self._end: queue.Queue[BaseException | None] = queue.Queue()
        self._enough: queue.Queue[None] = queue.Queue()
        self.reader = Reader(source, timeline or Timeline(), self._on_frame, self._end.put)

    def run(self) -> BaseException | None:
        self.reader.start()
        if self._most is not None:
            self._enough.get(timeout=TIMEOUT_S)
            self.reader.stop()
        return self._end.get(timeout=TIMEOUT_S)

    def _on_frame(self, frame: Frame, capture_time_us: int) -> None:
        self.frames.append(frame)
        self.times_us.append(capture_time_us)
        if len(self.frames) == self._most:
            self._enough.put(None)


def test_a_clip_is_played_in_real_time(clip: Path) -> None:
    timeline = Timeline()
    reading = Reading(open_file(clip, "video"), timeline)
    assert reading.run() is None
    assert len(reading.frames) + reading.reader.num_late == 25
    assert timeline.elapsed_s >= 24 / 25
    assert all(isinstance(frame, VideoFrame) for frame in reading.frames)
    places = [(time_us - timeline.epoch_us(0)) / 40_000 for time_us in reading.times_us]
    assert np.allclose(places, np.round(places), atol=0.01)


def test_picture_and_sound_share_a_timeline(clip: Path) -> None:
    timeline = Timeline()
    pictures, sounds = (
        Reading(open_file(clip, "video"), timeline, most=3),
        Reading(open_file(clip, "audio"), timeline, most=3),
    )
    assert pictures.run() is None
    assert sounds.run() is None
    assert all(isinstance(frame, AudioFrame) for frame in sounds.frames)
    assert sounds.times_us[0] == timeline.epoch_us(0)
    assert np.diff(sounds.times_us) == pytest.approx(1024 / 44_100 * 1e6, abs=2)


def test_a_source_that_is_too_slow_is_thinned_out(clip: Path) -> None:
    class Behind(Timeline):
        @property
        def elapsed_s(self) -> float:
            return super().elapsed_s + 1.2

    reading = Reading(open_file(clip, "video"), Behind())
    assert reading.run() is None
    assert 1 <= len(reading.frames) < 25
    assert len(reading.frames) + reading.reader.num_late == 25


def test_a_looped_clip_begins_again_without_a_seam(clip: Path) -> None:
    source = open_file(clip, "video", loop=True)
    length = source.container.duration
    assert length is not None
    reading = Reading(source, most=35)
    assert reading.run() is None
    times_s = (np.array(reading.times_us) - reading.times_us[0]) / 1e6
    assert (np.diff(times_s) > 0).all()
    assert times_s[-1] > length / av.time_base


def test_the_test_pattern_moves() -> None:
    reading = Reading(open_test_pattern(), most=4)
    assert reading.run() is None
    first, *others = (frame.to_ndarray(format="rgb24") for frame in reading.frames if isinstance(frame, VideoFrame))
    assert first.shape == (480, 640, 3)
    assert any(not np.array_equal(first, other) for other in others)


def test_a_live_source_gives_frames_at_once_with_the_time_of_their_arrival(clip: Path) -> None:
    recorded = open_file(clip, "video")
    live = Source(name="a live clip", container=recorded.container, kind="video", live=True)
    timeline = Timeline()
    timeline.begin()
    reading = Reading(live, timeline)
    assert reading.run() is None
    assert len(reading.frames) == 25
    assert all(one <= other for one, other in itertools.pairwise(reading.times_us))
    assert reading.times_us[0] >= timeline.epoch_us(0)


def test_a_failing_stage_ends_the_reader(clip: Path) -> None:
    ends: queue.Queue[BaseException | None] = queue.Queue()

    def fail(frame: Frame, capture_time_us: int) -> None:
        raise RuntimeError("no memory")

    reader = Reader(open_file(clip, "video"), Timeline(), fail, ends.put)
    reader.start()
    assert repr(ends.get(timeout=TIMEOUT_S)) == "RuntimeError('no memory')"


def test_a_damaged_clip_ends_with_one_error(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 8
    data[start : start + 2000] = bytes(2000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    error = Reading(open_file(damaged, "video")).run()
    assert error is None or (isinstance(error, CaptureError) and "damaged.mp4" in str(error))


def test_stopping_before_starting_closes_the_source(clip: Path) -> None:
    source = open_file(clip, "video")
    Reader(source, Timeline(), lambda frame, time_us: None, lambda error: None).stop()
    with pytest.raises(AssertionError, match="Container is not open"):
        next(source.container.decode(video=0))


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4", "empty.mp4", "."])
def test_an_unreadable_video_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(CaptureError, match=r"^cannot read .*: [A-Z]") as caught:
        open_file(tmp_path / name, "video")
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)


def test_a_file_without_pictures_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(CaptureError, match=r"sound\.wav has no video stream"):
        open_file(path, "video")
    assert has_audio(path)
    assert not has_audio(tmp_path / "missing.wav")


def test_a_missing_camera_is_told_in_one_line() -> None:
    with pytest.raises(CaptureError, match=r"^cannot open camera 93 \(.*\): ") as caught:
        open_camera("93")
    assert "\n" not in str(caught.value)


def test_a_missing_microphone_is_told_in_one_line() -> None:
    with pytest.raises(CaptureError, match=r"^cannot open microphone no-such-device \(.*\): "):
        open_microphone("no-such-device")
