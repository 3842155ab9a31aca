"""Where pictures and sound go: one screen, which any number of viewers watch.

    generated picture or ordinary video frame -> Screen -> PictureTrack, SoundTrack of each viewer (WHEP, VP8 and Opus)

A viewer keeps its tracks across calls: before the first call it gets a dark picture, between calls the last one. Each
track holds one picture, the newest, and half a second of sound.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack

VIDEO_RATE_HZ = 90_000
SOUND_RATE_HZ = 48_000
REPEAT_S = 1.0
SOUND_FRAMES_HELD = 25
SOUND_DRIFT_S = 0.2


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture ready to be shown.

    Attributes:
        frame: yuv420p with even sides; shared, so never written to.
        pts_us: its place on the call's video timeline, microseconds.
        arrival_us: when the frame that it was made from arrived, microseconds since the epoch.
        number: frame number modulo 2**16; None in an ordinary video call.
        capture_time_us: when it was captured, by the sender's clock; None while that is not known.
    """

    frame: av.VideoFrame
    pts_us: int
    arrival_us: int
    number: int | None = None
    capture_time_us: int | None = None


def even_yuv(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame as yuv420p with even sides, as the coders take it; the frame itself if it is so already."""
    return frame.reformat(width=frame.width // 2 * 2, height=frame.height // 2 * 2, format="yuv420p")


def copied(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a copy of a yuv420p frame: coders write a picture type and a timestamp into the frames they are given."""
    return av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")


def dark_frame(size: int) -> av.VideoFrame:
    """Return the picture shown before the first call: the page's own background, so that it is not seen."""
    planes = np.full((size * 3 // 2, size), 128, dtype=np.uint8)
    planes[:size] = 23
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


class PictureTrack(MediaStreamTrack):
    """One viewer's picture: always the newest, repeated once a second when there is no other."""

    kind = "video"

    def __init__(self, first: av.VideoFrame, now: Callable[[], float]) -> None:
        super().__init__()
        self._frame = first
        self._news = asyncio.Event()
        self._news.set()
        self._now = now
        self._last_pts = -1

    def offer(self, frame: av.VideoFrame) -> None:
        """Put a picture in the slot, in place of one that was not yet fetched."""
        self._frame = frame
        self._news.set()

    async def recv(self) -> av.VideoFrame:
        """Return a copy of the newest picture; waits for news, but not for more than a second."""
        with contextlib.suppress(TimeoutError):  # nothing new: the picture is sent again
            await asyncio.wait_for(self._news.wait(), REPEAT_S)
        self._news.clear()
        frame = copied(self._frame)
        frame.pts = self._last_pts = max(self._last_pts + 1, int(self._now() * VIDEO_RATE_HZ))
        frame.time_base = Fraction(1, VIDEO_RATE_HZ)
        return frame


class SoundTrack(MediaStreamTrack):
    """One viewer's sound; waits while there is none."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._frames: collections.deque[av.AudioFrame] = collections.deque(maxlen=SOUND_FRAMES_HELD)
        self._news = asyncio.Event()

    def offer(self, frame: av.AudioFrame) -> None:
        """Append a frame, dropping the oldest when half a second is waiting."""
        self._frames.append(frame)
        self._news.set()

    async def recv(self) -> av.AudioFrame:
        """Return the next frame."""
        while not self._frames:
            self._news.clear()
            await self._news.wait()
        return self._frames.popleft()


class Screen:
    """Hands every picture and every frame of sound to all viewers, on one timeline that outlives calls."""

    def __init__(self, size: int, now: Callable[[], float] = time.monotonic) -> None:
        """Set up an empty screen.

        Args:
            size: side of the dark picture shown before the first call.
            now: clock in seconds.
        """
        self._start = now()
        self._clock = now
        self._newest = dark_frame(size)
        self._picture_tracks: set[PictureTrack] = set()
        self._sound_tracks: set[SoundTrack] = set()
        self._sound_pts = 0

    def _now(self) -> float:
        return self._clock() - self._start

    def watch(self) -> tuple[PictureTrack, SoundTrack]:
        """Return the tracks of a new viewer; give them to ``leave`` when it goes."""
        picture, sound = PictureTrack(self._newest, self._now), SoundTrack()
        self._picture_tracks.add(picture)
        self._sound_tracks.add(sound)
        return picture, sound

    def leave(self, picture: PictureTrack, sound: SoundTrack) -> None:
        """Forget a viewer's tracks."""
        self._picture_tracks.discard(picture)
        self._sound_tracks.discard(sound)

    def show(self, picture: Picture) -> None:
        """Show a picture to all."""
        self._newest = picture.frame
        for track in self._picture_tracks:
            track.offer(picture.frame)

    def play(self, frame: av.AudioFrame) -> None:
        """Play a frame of 48 kHz sound to all; its timestamp is replaced by one of the screen's timeline."""
        now_pts = int(self._now() * SOUND_RATE_HZ)
        if abs(now_pts - self._sound_pts) > SOUND_DRIFT_S * SOUND_RATE_HZ:
            self._sound_pts = max(now_pts, self._sound_pts)
        frame.pts = self._sound_pts
        frame.time_base = Fraction(1, SOUND_RATE_HZ)
        self._sound_pts += frame.samples
        for track in self._sound_tracks:
            track.offer(frame)
