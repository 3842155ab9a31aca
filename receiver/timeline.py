"""When things happened at the sender, and when a picture is due here.

    Clock messages + frame numbers -> MediaClock: a timestamp of the stream -> time of capture
    lag of the sound               -> SoundLag   -> PictureQueue: pictures wait until the sound of their moment is heard

Sound comes out about 82 ms after it arrived (aiortc's jitter buffer holds four packets back), a picture as soon as the
generator has made it. Where both streams are tied to the capture clock, a picture that is early waits. Only
differences of the sender's times are used, so the two machines' clocks need not agree.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Generic, TypeVar

from codec.structs import Clock

MAX_HOLD_US = 300_000
SOUND_GONE_US = 1_000_000
LAG_SMOOTHING = 0.1
FRAMES_REMEMBERED = 512
CLOCKS_REMEMBERED = 8
PICTURES_HELD = 16

Item = TypeVar("Item")


class MediaClock:
    """Ties one stream's timestamps, as they are counted here, to the sender's capture clock.

    aiortc counts timestamps from the first packet it released, so the sender's own counts cannot be compared. For
    video the frame number joins the two; sound has none and is counted from its first packet at both ends, which is
    off by 20 ms for each packet lost before the first that arrived.
    """

    def __init__(self) -> None:
        self.offset_us: int | None = None
        self._pts_us_by_number: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._waiting: collections.OrderedDict[int, Clock] = collections.OrderedDict()

    def note_frame(self, number: int, pts_us: int) -> None:
        """Remember a video frame that arrived.

        Args:
            number: frame number modulo 2**16.
            pts_us: its timestamp here, microseconds.
        """
        self._pts_us_by_number[number] = pts_us
        self._pts_us_by_number.move_to_end(number)
        while len(self._pts_us_by_number) > FRAMES_REMEMBERED:
            self._pts_us_by_number.popitem(last=False)
        if (clock := self._waiting.pop(number, None)) is not None:
            self.offset_us = clock.capture_time_us - pts_us

    def note_clock(self, clock: Clock) -> None:
        """Take a ``Clock`` message of this stream; one that speaks of a frame yet to come waits for it."""
        if clock.media == "audio":
            self.offset_us = clock.capture_time_us - clock.pts * 1_000_000 // max(1, clock.clock_rate_hz)
        elif (pts_us := self._pts_us_by_number.get(clock.frame_number)) is not None:
            self.offset_us = clock.capture_time_us - pts_us
        else:
            self._waiting[clock.frame_number] = clock
            while len(self._waiting) > CLOCKS_REMEMBERED:
                self._waiting.popitem(last=False)

    def capture_time_us(self, pts_us: int) -> int | None:
        """Return when a frame was captured, by the sender's clock; None before the first ``Clock`` message."""
        return None if self.offset_us is None else pts_us + self.offset_us


class SoundLag:
    """How long after its capture the sound is heard here."""

    def __init__(self) -> None:
        self._lag_us: float | None = None
        self._last_us = 0

    def note(self, capture_time_us: int, now_us: int) -> None:
        """Note a frame of sound that is heard now."""
        lag_us = now_us - capture_time_us
        if self._lag_us is None or abs(lag_us - self._lag_us) > SOUND_GONE_US:
            self._lag_us = lag_us
        self._lag_us += LAG_SMOOTHING * (lag_us - self._lag_us)
        self._last_us = now_us

    def due_us(self, capture_time_us: int | None, now_us: int) -> int:
        """Return when a picture is due: now, or when the sound of its moment is heard.

        Args:
            capture_time_us: when the picture was captured; None when that is not known.
            now_us: time here. The picture is held for 0.3 s at most, and not at all when no sound came for a second.
        """
        if capture_time_us is None or self._lag_us is None or now_us - self._last_us > SOUND_GONE_US:
            return now_us
        return min(max(now_us, capture_time_us + round(self._lag_us)), now_us + MAX_HOLD_US)


class PictureQueue(Generic[Item]):
    """Pictures that wait until they are due, in the order in which they came; when it is full the oldest goes."""

    def __init__(self, show: Callable[[Item], None], now_us: Callable[[], int]) -> None:
        """Set up an empty queue.

        Args:
            show: called with each picture when it is due.
            now_us: clock in microseconds.
        """
        self.num_overflowed = 0
        self._show = show
        self._now_us = now_us
        self._waiting: collections.deque[tuple[int, Item]] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, item: Item, due_us: int) -> None:
        """Show an item when it is due, and not before what was put earlier; at once when nothing hinders it."""
        self._waiting.append((due_us, item))
        if len(self._waiting) > PICTURES_HELD:
            self._waiting.popleft()
            self.num_overflowed += 1
        self.show_due()

    def show_due(self) -> None:
        """Show what is due, and come back when the next one is."""
        self._cancel_timer()
        while self._waiting and self._waiting[0][0] <= self._now_us():
            self._show(self._waiting.popleft()[1])
        if self._waiting:
            delay_s = (self._waiting[0][0] - self._now_us()) / 1e6
            self._timer = asyncio.get_running_loop().call_later(max(0.001, delay_s), self.show_due)

    def flush(self) -> None:
        """Show all that waits, at once."""
        self._cancel_timer()
        while self._waiting:
            self._show(self._waiting.popleft()[1])

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
