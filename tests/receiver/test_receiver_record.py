from __future__ import annotations

import logging
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from codec.errors import OutputError
from receiver.dump import PictureDump
from receiver.mux import Sound
from receiver.output import Picture
from receiver.record import Recorder, check_writable, numbered

EPOCH_US = 1_700_000_000_000_000
PICTURE_INTERVAL_US = 40_000
SOUND_INTERVAL_US = 20_000
CLICK_US = 1_000_000
SUFFIXES = ("mp4", "mov", "mkv")


def grey_frame(value: int, size: int = 64) -> av.VideoFrame:
    planes = np.full((size * 3 // 2, size), 128, dtype=np.uint8)
    planes[:size] = value
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def picture(time_us: int, pts_origin_us: int, late_us: int = 0, size: int = 64) -> Picture:
    """A picture captured at a time; bright for 40 ms at ``CLICK_US``."""
    value = 220 if CLICK_US <= time_us < CLICK_US + PICTURE_INTERVAL_US else 40
    return Picture(grey_frame(value, size), time_us - pts_origin_us, EPOCH_US + time_us + late_us)


def sound(time_us: int, pts_origin_us: int, late_us: int = 0) -> Sound:
    """20 ms of sound captured at a time; loud at ``CLICK_US``."""
    times_us = time_us + np.arange(960) * 1_000_000 / 48_000
    is_loud = (times_us >= CLICK_US) & (times_us < CLICK_US + PICTURE_INTERVAL_US)
    wave = np.sin(2 * np.pi * 1000 * times_us / 1e6) * is_loud * 20_000
    samples = np.repeat(wave.astype(np.int16), 2)[None]
    return Sound(samples, "stereo", time_us - pts_origin_us, EPOCH_US + time_us + late_us)


def click_times_s(path: Path) -> tuple[float, float]:
    """When the picture flashes and when the sound begins, by the file's own times."""
    with av.open(str(path)) as container:
        flash = next(f.time for f in container.decode(video=0) if f.to_ndarray()[: f.height].mean() > 130)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.2)
            if loud.size:
                assert flash is not None
                assert frame.time is not None
                return flash, frame.time + loud[0] / 48_000
    raise AssertionError("no click in the recording")


def video_times_s(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0) if frame.time is not None]


def record(recorder: Recorder, *, clocks: tuple[int, int] | None, sound_late_us: int = 82_000) -> None:
    """Give a recorder three seconds; the two streams' timestamps have different origins, arrival is uneven."""
    rng = np.random.default_rng(0)
    items: list[tuple[int, Picture | Sound]] = []
    for time_us in range(200_000, 3_200_000, PICTURE_INTERVAL_US):
        seen = picture(time_us, 200_000, int(rng.integers(0, 30_000)))
        items.append((seen.arrival_us, seen))
    for time_us in range(100_000, 3_200_000, SOUND_INTERVAL_US):
        heard = sound(time_us, 100_000, sound_late_us)
        items.append((heard.arrival_us, heard))
    for _, item in sorted(items, key=lambda entry: entry[0]):
        if isinstance(item, Picture):
            recorder.put_picture(item)
        else:
            recorder.put_sound(item)
        if clocks is not None:
            recorder.set_clocks(*clocks)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_picture_and_sound_keep_the_times_of_capture(tmp_path: Path, suffix: str) -> None:
    recorder = Recorder(tmp_path / f"out.{suffix}", has_sound=True)
    record(recorder, clocks=(EPOCH_US + 200_000, EPOCH_US + 100_000))
    path = recorder.finish()
    assert path == tmp_path / f"out.{suffix}"
    times_s = video_times_s(path)
    assert times_s[0] == pytest.approx(0, abs=0.03)
    assert np.diff(times_s) == pytest.approx(PICTURE_INTERVAL_US / 1e6, abs=0.0015)  # no jitter of arrival
    assert len(times_s) == 75
    flash_s, click_s = click_times_s(path)
    assert flash_s == pytest.approx(0.8, abs=0.03)
    assert click_s == pytest.approx(flash_s, abs=0.03)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"


def test_without_clocks_the_times_of_arrival_join_the_streams(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", has_sound=True)
    record(recorder, clocks=None, sound_late_us=30_000)
    path = recorder.finish()
    assert path is not None
    flash_s, click_s = click_times_s(path)
    assert click_s - flash_s == pytest.approx(0.030, abs=0.03)


def test_a_call_shorter_than_the_wait_for_clocks(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", has_sound=True)
    for index in range(5):
        recorder.put_picture(picture(index * PICTURE_INTERVAL_US, 0))
    path = recorder.finish()
    assert path is not None
    assert len(video_times_s(path)) == 5


def test_a_call_without_sound(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", has_sound=False)
    recorder.put_sound(sound(0, 0))
    for index in range(5):
        recorder.put_picture(picture(index * PICTURE_INTERVAL_US, 0))
    path = recorder.finish()
    assert path is not None
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 0


def test_pictures_of_another_size_are_scaled(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", has_sound=False)
    for index in range(6):
        recorder.put_picture(picture(index * PICTURE_INTERVAL_US, 0, size=64 if index < 3 else 96))
    path = recorder.finish()
    assert path is not None
    with av.open(str(path)) as container:
        assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(64, 64)}


def test_a_pause_in_the_sound_keeps_its_place(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", has_sound=True)
    recorder.set_clocks(EPOCH_US, EPOCH_US)
    for time_us in range(0, 2_000_000, PICTURE_INTERVAL_US):
        recorder.put_picture(picture(time_us, 0))
    for time_us in [*range(0, 300_000, SOUND_INTERVAL_US), *range(900_000, 2_000_000, SOUND_INTERVAL_US)]:
        recorder.put_sound(sound(time_us, 0))
    path = recorder.finish()
    assert path is not None
    flash_s, click_s = click_times_s(path)
    assert click_s == pytest.approx(flash_s, abs=0.03)


def test_a_call_without_a_picture_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", has_sound=True)
    recorder.put_sound(sound(0, 0))
    assert recorder.finish() is None
    assert list(tmp_path.iterdir()) == []


def test_an_old_recording_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("old")
    recorder = Recorder(path, has_sound=False)
    recorder.put_picture(picture(0, 0))
    assert path.read_text() == "old"
    recorder.finish()
    assert len(video_times_s(path)) == 1


def test_a_recording_that_fails_says_so_and_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    recorder = Recorder(folder / "out.mp4", has_sound=False)
    shutil.rmtree(folder)
    with caplog.at_level(logging.WARNING):
        for index in range(50):
            recorder.put_picture(picture(index * PICTURE_INTERVAL_US, 0))
        with pytest.raises(OutputError, match=r"cannot record to .*out\.mp4"):
            recorder.finish()
    assert len(caplog.records) == 1
    assert list(tmp_path.iterdir()) == []


def test_unwritable_paths_are_found_at_the_start(tmp_path: Path) -> None:
    check_writable(tmp_path / "out.mp4", "--record")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match=r"--record .*: No such file or directory"):
        check_writable(tmp_path / "absent" / "out.mp4", "--record")
    with pytest.raises(OutputError, match="it is a folder"):
        check_writable(tmp_path, "--record")


def test_further_calls_have_files_of_their_own() -> None:
    assert [numbered(Path("a/out.mp4"), number).name for number in (1, 2, 3)] == ["out.mp4", "out-2.mp4", "out-3.mp4"]


def test_the_dump_holds_numbers_pictures_and_times(tmp_path: Path) -> None:
    dump = PictureDump(tmp_path / "out.npz")
    for number in range(3):
        dump.add(number, np.full((8, 8, 3), number, dtype=np.uint8), EPOCH_US + number)
    dump.write()
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["numbers"].tolist() == [0, 1, 2]
        assert arrays["pictures"].shape == (3, 8, 8, 3)
        assert arrays["times_us"].dtype == np.int64
    assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]


def test_an_empty_dump_is_a_file_too(tmp_path: Path) -> None:
    PictureDump(tmp_path / "out.npz").write()
    with np.load(tmp_path / "out.npz") as arrays:
        assert len(arrays["pictures"]) == 0


def test_a_dump_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--dump"):
        PictureDump(tmp_path / "absent" / "out.npz").write()
