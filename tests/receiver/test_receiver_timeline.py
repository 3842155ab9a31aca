from __future__ import annotations

import pytest

from codec.structs import Clock
from receiver.timeline import (
    CLOCKS_REMEMBERED,
    FRAMES_REMEMBERED,
    MAX_HOLD_US,
    PICTURES_HELD,
    MediaClock,
    PictureQueue,
    SoundLag,
)

EPOCH_US = 1_700_000_000_000_000


def video_clock(number: int, capture_time_us: int) -> Clock:
    return Clock("video", number, 123_456, 90_000, capture_time_us)


class FakeClock:
    def __init__(self) -> None:
        self.us = EPOCH_US

    def __call__(self) -> int:
        return self.us


def test_a_clock_message_ties_the_frames_around_it() -> None:
    clock = MediaClock()
    assert clock.capture_time_us(0) is None
    clock.note_frame(7, 1_000_000)
    clock.note_clock(video_clock(7, EPOCH_US))
    assert clock.capture_time_us(1_000_000) == EPOCH_US
    assert clock.capture_time_us(1_040_000) == EPOCH_US + 40_000


def test_a_clock_message_waits_for_its_frame() -> None:
    clock = MediaClock()
    clock.note_clock(video_clock(7, EPOCH_US))
    clock.note_frame(6, 960_000)
    assert clock.offset_us is None
    clock.note_frame(7, 1_000_000)
    assert clock.capture_time_us(1_000_000) == EPOCH_US


def test_a_clock_message_of_a_lost_frame_changes_nothing() -> None:
    clock = MediaClock()
    clock.note_frame(7, 1_000_000)
    clock.note_clock(video_clock(7, EPOCH_US))
    clock.note_clock(video_clock(8, EPOCH_US + 1))
    assert clock.capture_time_us(1_000_000) == EPOCH_US


def test_memory_of_frames_and_clocks_is_bounded() -> None:
    clock = MediaClock()
    for number in range(3 * FRAMES_REMEMBERED):
        clock.note_frame(number, number)
    clock.note_clock(video_clock(0, EPOCH_US))
    assert clock.offset_us is None
    for number in range(5 * FRAMES_REMEMBERED, 5 * FRAMES_REMEMBERED + 3 * CLOCKS_REMEMBERED):
        clock.note_clock(video_clock(number, EPOCH_US))
    clock.note_frame(5 * FRAMES_REMEMBERED, 0)
    assert clock.offset_us is None


def test_sound_is_counted_from_its_first_sample() -> None:
    clock = MediaClock()
    clock.note_clock(Clock("audio", 0, 48_000, 48_000, EPOCH_US))
    assert clock.capture_time_us(1_000_000) == EPOCH_US
    clock.note_clock(Clock("audio", 0, 5, 0, EPOCH_US))  # a clock rate of nought must not end the call


@pytest.mark.parametrize("skew_us", [0, 3_600_000_000, -3_600_000_000])
def test_a_picture_waits_for_the_sound_of_its_moment(skew_us: int) -> None:
    lag = SoundLag()
    captured_us = EPOCH_US + skew_us  # the sender's clock may be hours off
    for index in range(100):
        lag.note(captured_us + 20_000 * index, EPOCH_US + 20_000 * index + 82_000)
    now_us = EPOCH_US + 2_000_000
    assert lag.due_us(captured_us + 1_970_000, now_us) == pytest.approx(now_us + 52_000, abs=100)
    assert lag.due_us(captured_us + 1_800_000, now_us) == now_us  # late already


def test_without_sound_or_clock_nothing_waits() -> None:
    lag = SoundLag()
    assert lag.due_us(EPOCH_US, EPOCH_US + 5) == EPOCH_US + 5
    lag.note(EPOCH_US, EPOCH_US + 82_000)
    assert lag.due_us(None, EPOCH_US + 83_000) == EPOCH_US + 83_000
    assert lag.due_us(EPOCH_US + 2_000_000, EPOCH_US + 2_000_000) == EPOCH_US + 2_000_000  # the sound has stopped


def test_no_picture_waits_long() -> None:
    lag = SoundLag()
    lag.note(EPOCH_US, EPOCH_US + 900_000)
    now_us = EPOCH_US + 900_000
    assert lag.due_us(EPOCH_US + 890_000, now_us) == now_us + MAX_HOLD_US


async def test_pictures_are_shown_when_due_and_in_order() -> None:
    now_us, shown = FakeClock(), list[str]()
    queue = PictureQueue(shown.append, now_us)
    queue.put("first", now_us.us)
    assert shown == ["first"]
    queue.put("second", now_us.us + 50_000)
    queue.put("third", now_us.us + 40_000)
    assert shown == ["first"]
    now_us.us += 45_000
    queue.show_due()
    assert shown == ["first"]  # the third is due, but not before the second
    now_us.us += 5_000
    queue.show_due()
    assert shown == ["first", "second", "third"]


async def test_the_oldest_goes_when_too_many_wait() -> None:
    now_us, shown = FakeClock(), list[int]()
    queue = PictureQueue(shown.append, now_us)
    for index in range(PICTURES_HELD + 3):
        queue.put(index, now_us.us + 1_000_000)
    assert queue.num_overflowed == 3
    queue.flush()
    assert shown == list(range(3, PICTURES_HELD + 3))
