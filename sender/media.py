"""Before the call: sources, readers and stages wired together, from devices to slots.

source -> Reader -> Pace -> Framer     -> pictures, a slot of one
source -> Reader         -> OpusStream -> sounds, a slot of a few
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from codec.errors import CaptureError, WarpcallError
from codec.face import FaceDetector, FaceTracker
from sender.audio import OpusPacket, OpusStream
from sender.capture import Frame, Reader, Timeline
from sender.config import CodingConfig, SourceConfig
from sender.face import FramedPicture, Framer
from sender.pace import Pace
from sender.slot import Slot
from sender.source import Source, has_audio, open_camera, open_file, open_microphone, open_test_pattern

logger = logging.getLogger(__name__)

SOUND_SLOTS = 5
"""Packets of sound that wait for aiortc; more than a moment's worth is stale."""


WARM_UP_PICTURE = np.zeros((64, 64, 3), dtype=np.uint8)
"""Loads the detector: the first picture would wait for that, seconds."""


class Media:
    """Pictures and sound of one sender, over all its calls; an async context manager.

    Live sources run from the beginning; played ones from ``begin`` on, so that a call misses nothing of them.

    Args:
        source: what to open.
        coding: rates.
        size: of the squares, pixels (S).
        pace: admits pictures.
    """

    def __init__(self, source: SourceConfig, coding: CodingConfig, size: int, pace: Pace) -> None:
        self._config = source
        self._coding = coding
        self._pace = pace
        self._timeline = Timeline()
        self._detector = FaceDetector() if source.crop == "face" and not source.test_pattern else None
        self._framer = Framer(size, None if self._detector is None else FaceTracker(self._detector))
        self._readers: list[Reader] = []
        self._waiting: list[Reader] = []
        self._opus: OpusStream | None = None
        self.ended = asyncio.Event()
        """Set when the pictures have ended."""
        self.error: WarpcallError | None = None
        """What ended them; None at the end of a file."""

    @property
    def sounds(self) -> Slot[OpusPacket] | None:
        """Where the sound arrives; None when there is none."""
        return self._sounds if self._opus is not None else None

    @property
    def num_skipped(self) -> int:
        """Pictures that came too late, or that a newer one displaced before they were coded."""
        return self.pictures.num_dropped + sum(reader.num_late for reader in self._readers)

    async def __aenter__(self) -> Self:
        """Open the sources.

        Raises:
            CaptureError: one of them cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        self.pictures: Slot[FramedPicture] = Slot(1, self._loop)
        self._sounds: Slot[OpusPacket] = Slot(SOUND_SLOTS, self._loop)
        if self._detector is not None:
            await asyncio.to_thread(self._detector.detect, WARM_UP_PICTURE)
        try:
            self._add(await asyncio.to_thread(_open_pictures, self._config))
            sound = await asyncio.to_thread(_open_sound, self._config)
        except CaptureError:
            await self._close()
            raise
        if sound is not None:
            self._opus = OpusStream(round(self._coding.audio_kbps * 1000), self._coding.audio_packet_ms)
            self._add(sound)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    def begin(self) -> None:
        """Start the sources that are played, if they were not started before."""
        self._timeline.begin()
        while self._waiting:
            self._waiting.pop(0).start()

    def _add(self, source: Source) -> None:
        if source.kind == "video":
            reader = Reader(source, self._timeline, self._on_picture, self._on_pictures_end)
        else:
            reader = Reader(source, self._timeline, self._on_sound, self._on_sound_end)
        self._readers.append(reader)
        if source.live:
            reader.start()
        else:
            self._waiting.append(reader)

    def _on_picture(self, frame: Frame, capture_time_us: int) -> None:
        if isinstance(frame, VideoFrame) and self._pace.admit(capture_time_us / 1e6):
            self.pictures.put(self._framer.frame(frame, capture_time_us))

    def _on_sound(self, frame: Frame, capture_time_us: int) -> None:
        if isinstance(frame, AudioFrame) and self._opus is not None:
            for packet in self._opus.encode(frame, capture_time_us):
                self._sounds.put(packet)

    def _on_pictures_end(self, error: BaseException | None) -> None:
        if error is not None:
            self.error = error if isinstance(error, WarpcallError) else CaptureError(f"the pictures failed: {error!r}")
        self.pictures.close()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.ended.set)

    def _on_sound_end(self, error: BaseException | None) -> None:
        if error is not None:
            logger.warning("the sound has ended: %s", error)
        self._sounds.close()

    async def _close(self) -> None:
        for reader in self._readers:
            await asyncio.to_thread(reader.stop)
        await asyncio.to_thread(self._framer.close)


def _open_pictures(config: SourceConfig) -> Source:
    if config.test_pattern:
        return open_test_pattern()
    if config.video is not None:
        return open_file(config.video, "video", loop=config.loop)
    return open_camera(config.camera or "0")


def _open_sound(config: SourceConfig) -> Source | None:
    if not config.audio:
        return None
    if config.microphone is not None:
        return open_microphone(config.microphone)
    if config.video is not None and has_audio(config.video):
        return open_file(config.video, "audio", loop=config.loop)
    return None
