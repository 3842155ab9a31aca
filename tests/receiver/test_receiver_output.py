from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from receiver.output import SOUND_FRAMES_HELD, Picture, Screen, copied, dark_frame, even_yuv


def grey(value: int, size: int = 16) -> av.VideoFrame:
    planes = np.full((size * 3 // 2, size), value, dtype=np.uint8)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def brightness(frame: av.VideoFrame) -> float:
    return float(frame.to_ndarray()[: frame.height].mean())


def sound(samples: int = 960) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * samples), dtype=np.int16), format="s16", layout="stereo")
    frame.sample_rate = 48_000
    return frame


async def test_a_viewer_gets_a_dark_picture_before_the_first_call() -> None:
    picture, _ = Screen(64).watch()
    frame = await picture.recv()
    assert (frame.width, frame.height) == (64, 64)
    assert brightness(frame) < 40


async def test_a_viewer_gets_the_newest_picture() -> None:
    ticks = itertools.count()
    screen = Screen(16, now=lambda: next(ticks) * 0.1)
    picture, sounds = screen.watch()
    await picture.recv()
    for value in (50, 100, 150):
        screen.show(Picture(grey(value), 0, 0))
    frame = await picture.recv()
    assert brightness(frame) == 150
    late, _ = screen.watch()
    assert brightness(await late.recv()) == 150
    screen.leave(picture, sounds)
    screen.show(Picture(grey(200), 0, 0))
    assert brightness(await late.recv()) == 200


async def test_without_news_the_picture_is_repeated_with_a_later_time() -> None:
    picture, _ = Screen(16).watch()
    first, second = await picture.recv(), await picture.recv()
    assert second.pts is not None
    assert first.pts is not None
    assert second.pts > first.pts
    assert np.array_equal(first.to_ndarray(), second.to_ndarray())


async def test_viewers_share_no_frame_memory() -> None:
    screen = Screen(16)
    (one, _), (two, _) = screen.watch(), screen.watch()
    shown = grey(90)
    screen.show(Picture(shown, 0, 0))
    first, second = await one.recv(), await two.recv()
    assert first is not second
    assert first is not shown
    first.pict_type = av.video.frame.PictureType.I
    assert second.pict_type == av.video.frame.PictureType.NONE


async def test_sound_runs_on_one_timeline_over_pauses() -> None:
    time_s = 100.0
    screen = Screen(16, now=lambda: time_s)
    _, sounds = screen.watch()
    for _ in range(3):
        screen.play(sound())
    time_s += 5.0
    screen.play(sound())
    assert [(await sounds.recv()).pts for _ in range(4)] == [0, 960, 1920, 240_000]


async def test_a_viewer_that_does_not_listen_keeps_half_a_second() -> None:
    screen = Screen(16, now=lambda: 0.0)
    _, sounds = screen.watch()
    for _ in range(3 * SOUND_FRAMES_HELD):
        screen.play(sound())
    assert (await sounds.recv()).pts == 2 * SOUND_FRAMES_HELD * 960


@pytest.mark.parametrize(("width", "height", "format"), [(63, 47, "yuv420p"), (64, 48, "rgb24"), (64, 48, "yuv420p")])
def test_even_yuv_takes_any_frame(width: int, height: int, format: str) -> None:
    frame = even_yuv(av.VideoFrame(width, height, format))
    assert (frame.width % 2, frame.height % 2, frame.format.name) == (0, 0, "yuv420p")
    assert copied(frame).to_ndarray().shape == frame.to_ndarray().shape


def test_the_dark_frame_is_grey_and_dark() -> None:
    rgb = dark_frame(32).to_ndarray(format="rgb24")
    assert rgb.max() < 30
    assert int(rgb.max()) - int(rgb.min()) <= 2
