"""Stage 7 of 8, sending end, beside the codec: conventional video whose bitrate follows the link.

    av.VideoFrame -> RateH264Encoder.encode -> RTP payloads (RFC 6184, as aiortc packs them)

aiortc's own encoders do not go below 250 (VP8) and 500 kbit/s (H.264), and begin anew, with a keyframe, whenever the
bitrate changes by a tenth: at 50 kbit/s a keyframe is half a second's worth. libx264 takes another bitrate as it runs,
so this one begins anew only for a far change, which it would follow too slowly (a step from 200 to 50 kbit/s took it a
second) or not at all: the bits that it may send at once are bounded from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from aiortc.codecs.h264 import H264Encoder
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from codec.config import CLOCK_RATE_HZ

CODEC_NAME, ENCODER = "H264", "libx264"
FRAME_RATE = 25
BUFFER_S = 0.4
"""What the encoder may send at once, seconds of its bitrate: so much may a keyframe delay what follows."""
LEAST_BPS, MOST_BPS = 10_000, 4_000_000
LONGEST_INTERVAL_S = 0.5
FAR_LOWER, FAR_HIGHER = 0.6, 1.5
"""Times the bitrate that the encoder began with."""


def is_available() -> bool:
    """Return whether this build of FFmpeg has the encoder."""
    return ENCODER in av.codecs_available


class RateH264Encoder(H264Encoder):
    """H.264 at the bitrate of the moment."""

    def __init__(self) -> None:
        super().__init__()
        self._bps = self._begun_bps = 100_000
        self._interval_s = 1 / FRAME_RATE
        self._last_s: float | None = None
        self._context: VideoCodecContext | None = None

    @property
    def target_bitrate(self) -> int:
        """Bits per second, headers not counted."""
        return self._bps

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._bps = max(LEAST_BPS, min(bitrate, MOST_BPS))

    def restart(self) -> None:
        """Begin anew: the next frame is a keyframe, with the stream's parameters before it."""
        self._context = None

    def _encode_frame(self, frame: av.VideoFrame, force_keyframe: bool) -> Iterator[bytes]:
        self._note_time(frame)
        context = self._context_for(frame)
        frame = frame.reformat(width=context.width, height=context.height, format="yuv420p")
        frame.pict_type = PictureType.I if force_keyframe else PictureType.NONE
        if context.bit_rate != self._coded_bps:
            context.bit_rate = self._coded_bps
        data = b"".join(bytes(packet) for packet in context.encode(frame))
        if data:
            yield from self._split_bitstream(data)

    @property
    def _coded_bps(self) -> int:
        """What libx264 is told: it takes every frame for one of ``FRAME_RATE`` a second, whatever its timestamp."""
        return round(self._bps * self._interval_s * FRAME_RATE)

    def _note_time(self, frame: av.VideoFrame) -> None:
        time_s = frame.time
        if time_s is not None and self._last_s is not None and 0 < time_s - self._last_s < LONGEST_INTERVAL_S:
            self._interval_s += 0.1 * (time_s - self._last_s - self._interval_s)
        self._last_s = time_s

    def _context_for(self, frame: av.VideoFrame) -> VideoCodecContext:
        context, width, height = self._context, frame.width // 2 * 2, frame.height // 2 * 2
        if (
            context is None
            or (context.width, context.height) != (width, height)
            or not FAR_LOWER <= self._coded_bps / self._begun_bps <= FAR_HIGHER
        ):
            self._context = context = _open(width, height, self._coded_bps)
            self._begun_bps = self._coded_bps
        return context


def _open(width: int, height: int, bps: int) -> VideoCodecContext:
    context = av.CodecContext.create(ENCODER, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.framerate = Fraction(FRAME_RATE)
    context.time_base = Fraction(1, CLOCK_RATE_HZ)
    context.bit_rate = bps
    context.gop_size = 3000
    context.thread_count = 1
    context.profile = "Baseline"
    context.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "level": "31",
        "x264-params": "scenecut=0",
        "maxrate": str(bps),
        "bufsize": str(round(bps * BUFFER_S)),
    }
    return context
