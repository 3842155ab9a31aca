"""Before stages 1 and 6: slots to the media tracks that aiortc reads.

    Slot[FramedPicture] -> PictureTrack -> av.VideoFrame (S, S) with the picture on ``opaque``
    Slot[OpusPacket]    -> SoundTrack   -> av.Packet, Opus

Timestamps begin at 0 with the first frame that a track gives, as aiortc's receivers count them.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet
from av.video.frame import VideoFrame

from codec.config import CLOCK_RATE_HZ
from sender.audio import TIME_BASE, OpusPacket
from sender.face import FramedPicture
from sender.slot import Slot, SlotClosedError

Item = TypeVar("Item")

VIDEO_TIME_BASE = Fraction(1, CLOCK_RATE_HZ)


class PictureTrack(MediaStreamTrack):
    """The square pictures as a track of kind video.

    Args:
        slot: holds the newest picture.
        direct: says what is sent for a picture: itself with its codec, another one, or None for nothing.
    """

    kind = "video"

    def __init__(
        self, slot: Slot[FramedPicture], direct: Callable[[FramedPicture], FramedPicture | None] | None = None
    ) -> None:
        super().__init__()
        self._slot = slot
        self._direct = direct
        self._first_us: int | None = None
        self._last_pts = -1

    async def recv(self) -> VideoFrame:
        """Return the next picture, at once coded by aiortc.

        Raises:
            MediaStreamError: the source has ended.
        """
        picture = await self._next()
        self._first_us = picture.capture_time_us if self._first_us is None else self._first_us
        frame = VideoFrame.from_ndarray(picture.rgb, format="rgb24")
        pts = round((picture.capture_time_us - self._first_us) * CLOCK_RATE_HZ / 1_000_000)
        self._last_pts = frame.pts = max(pts, self._last_pts + 1)  # a clock set back must not set the stream back
        frame.time_base = VIDEO_TIME_BASE
        frame.opaque = picture
        return frame

    async def _next(self) -> FramedPicture:
        while True:
            picture = await _take(self, self._slot)
            directed = picture if self._direct is None else self._direct(picture)
            if directed is not None:
                return directed


class SoundTrack(MediaStreamTrack):
    """The sound as a track of kind audio that gives coded packets.

    Args:
        slot: holds the last packets.
        on_packet: called with each packet handed to aiortc: its timestamp on the wire (1/48000 s) and capture time.
    """

    kind = "audio"

    def __init__(self, slot: Slot[OpusPacket], on_packet: Callable[[int, int], None]) -> None:
        super().__init__()
        self._slot = slot
        self._on_packet = on_packet
        self._first_pts: int | None = None

    async def recv(self) -> Packet[Any]:
        """Return the next packet.

        Raises:
            MediaStreamError: the source has ended.
        """
        piece = await _take(self, self._slot)
        assert piece.packet.pts is not None
        self._first_pts = piece.packet.pts if self._first_pts is None else self._first_pts
        piece.packet.pts -= self._first_pts
        piece.packet.time_base = TIME_BASE
        self._on_packet(piece.packet.pts, piece.capture_time_us)
        return piece.packet


async def _take(track: MediaStreamTrack, slot: Slot[Item]) -> Item:
    if track.readyState != "live":
        raise MediaStreamError
    try:
        return await slot.get()
    except SlotClosedError:
        track.stop()
        raise MediaStreamError from None
