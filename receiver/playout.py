"""From a call's tracks to the screen, the recording, the dump and the figures.

video track -> coded frames -> PictureGenerator -> wait for the sound -> screen, recording, dump, stats
-> ordinary frames (VP8, H.264) -----------^
sound track -> screen, recording
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from codec.errors import OutputError
from codec.frames import Rgb, frame_from_rgb
from codec.rtc import ReceivedFrame
from codec.structs import Clock
from receiver.dump import PictureDump
from receiver.generate import PictureGenerator
from receiver.mux import Sound
from receiver.output import Picture, even_yuv
from receiver.record import Recorder
from receiver.stats import CallStats
from receiver.studio import Studio, now_us
from receiver.timeline import MediaClock, PictureQueue, SoundLag

logger = logging.getLogger(__name__)


class Playout:
    """Shows and keeps what one call sends.

    Attributes:
        generator: makes the pictures.
        num_ordinary_frames: frames of an ordinary video call.
        last_frame_s: when a frame last came, by the monotonic clock; None before the first.
        is_ordinary: whether the last frame was conventional video; None before the first.
    """

    def __init__(self, studio: Studio, stats: CallStats, recording: Path | None, *, has_sound: bool) -> None:
        """Set up.

        Args:
            studio: decoder, screen and settings.
            stats: where pictures are counted.
            recording: file to record to.
            has_sound: whether the call has sound.
        """
        self.generator = PictureGenerator(studio.decoder, self._on_picture)
        self.num_ordinary_frames = 0
        self.last_frame_s: float | None = None
        self._newest_pts: int | None = None
        self.is_ordinary: bool | None = None
        self._last_pts_us = -1
        self._studio = studio
        self._stats = stats
        self._clocks = {"video": MediaClock(), "audio": MediaClock()}
        self._sound_lag = SoundLag()
        self._due: PictureQueue[tuple[Picture, Rgb | None]] = PictureQueue(self._show, now_us)
        self._recorder = Recorder(recording, has_sound=has_sound) if recording is not None else None
        self._dump = PictureDump(studio.config.dump) if studio.config.dump is not None else None

    def note_clock(self, clock: Clock) -> None:
        """Take a ``Clock`` message."""
        if (media_clock := self._clocks.get(clock.media)) is not None:
            media_clock.note_clock(clock)

    def update_stats(self) -> None:
        """Bring the figures that are counted here up to date."""
        self._stats.num_dropped = self.generator.num_dropped + self._due.num_overflowed + self._stats.num_overtaken
        self._stats.num_waiting = self.generator.num_waiting_for_references
        self._stats.decoder_fps = self.generator.decoder_fps

    async def follow_references(self) -> None:
        """Give the generator the pictures that are on the shelf now."""
        shelf = self._studio.shelf
        await self.generator.set_references(shelf.rgbs, shelf.tags)

    async def read_video(self, track: MediaStreamTrack) -> None:
        """Take frames until the track ends."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                received = frame.opaque if isinstance(frame, av.VideoFrame) else None
                if isinstance(received, ReceivedFrame) and received.coded.is_concealed:
                    self._stats.num_concealed += 1
                else:
                    self.last_frame_s = time.monotonic()
                if isinstance(received, ReceivedFrame):
                    self._on_coded_frame(received)
                elif isinstance(frame, av.VideoFrame):
                    self._on_ordinary_frame(frame)

    async def read_sound(self, track: MediaStreamTrack) -> None:
        """Take sound until the track ends."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if isinstance(frame, av.AudioFrame):
                    self._on_sound(frame)

    def show_rest(self) -> None:
        """Show the pictures that wait for their sound: no more is coming."""
        self._due.flush()
        self.update_stats()

    async def finish(self) -> list[str]:
        """End the recording and the dump.

        Returns:
            What went wrong, a line each.
        """
        steps: list[Callable[[], Path | None]] = []
        if self._recorder is not None:
            steps.append(self._recorder.finish)
        if self._dump is not None:
            steps.append(self._dump.write)
        failures = []
        for step in steps:
            try:
                path = await asyncio.to_thread(step)
            except OutputError as error:
                failures.append(str(error))
            else:
                logger.info("%s", f"wrote {path}" if path is not None else "there was no picture to record")
        return failures

    def _on_coded_frame(self, received: ReceivedFrame) -> None:
        self.is_ordinary = False
        if not received.is_time_guessed:
            self._clocks["video"].note_frame(received.coded.number, _pts_us(received.pts))
        if received.wait_s > 0:
            asyncio.get_running_loop().call_later(received.wait_s, self._put, received)
        else:
            self._put(received)

    def _put(self, received: ReceivedFrame) -> None:
        """Have the picture of a frame made, unless a newer one was due before."""
        if self._newest_pts is None or received.pts > self._newest_pts:
            self._newest_pts = received.pts
            self.generator.put(received)

    def _on_picture(self, received: ReceivedFrame, rgb: Rgb) -> None:
        pts_us = _pts_us(received.pts)
        arrival_us = round(received.arrival_time_s * 1e6)
        picture = Picture(frame_from_rgb(rgb), pts_us, arrival_us, received.coded.number)
        self._present(picture, rgb)

    def _on_ordinary_frame(self, frame: av.VideoFrame) -> None:
        self.num_ordinary_frames += 1
        self.is_ordinary = True
        self._present(Picture(even_yuv(frame), _pts_us(frame.pts or 0), now_us()), None)

    def _present(self, picture: Picture, rgb: Rgb | None) -> None:
        """Have a picture shown when it is due, unless a newer one is: conventional video overtakes the generator."""
        if picture.pts_us <= self._last_pts_us:
            self._stats.num_overtaken += 1
            return
        self._last_pts_us = picture.pts_us
        captured_us = self._clocks["video"].capture_time_us(picture.pts_us)
        self._due.put((picture, rgb), self._sound_lag.due_us(captured_us, now_us()))

    def _on_sound(self, frame: av.AudioFrame) -> None:
        heard_us = now_us()
        pts_us = (frame.pts or 0) * 1_000_000 // frame.sample_rate
        captured_us = self._clocks["audio"].capture_time_us(pts_us)
        if captured_us is not None:
            self._sound_lag.note(captured_us, heard_us)
        if self._recorder is not None:
            self._recorder.put_sound(
                Sound(frame.to_ndarray().astype(np.int16, copy=False), frame.layout.name, pts_us, heard_us)
            )
        self._studio.screen.play(frame)

    def _show(self, item: tuple[Picture, Rgb | None]) -> None:
        picture, rgb = item
        shown_us = now_us()
        video, sound = self._clocks["video"], self._clocks["audio"]
        self._studio.screen.show(picture)
        if self._recorder is not None:
            self._recorder.set_clocks(video.offset_us, sound.offset_us)
            self._recorder.put_picture(picture)
        if self._dump is not None and rgb is not None and picture.number is not None:
            self._dump.add(picture.number, rgb, shown_us)
        captured_us = video.capture_time_us(picture.pts_us)
        self._stats.note_shown(None if captured_us is None else (shown_us - captured_us) / 1000)


def _pts_us(pts: int) -> int:
    """Return a 90 kHz timestamp in microseconds."""
    return pts * 100 // 9
