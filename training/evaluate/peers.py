"""Evaluation, what we are up against: conventional codecs, really encoding and really decoding.

    frames -> scaled down? -> encoder -> packets -> decoder -> scaled up -> pictures;  bytes of each frame

The encoders are those that PyAV's FFmpeg carries. ``realtime`` is what a call runs: no B-frames, no look-ahead, one
keyframe at the start, constant bitrate with a buffer of a second where the encoder has one. ``offline`` lets each look
ahead and take its time (one pass, average bitrate), so that nobody can say that the peers were crippled. Shape legend:
N frames, S height and width.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from PIL import Image

from codec.errors import TrainingError
from codec.frames import frame_from_rgb, rgb_from_frame
from training.evaluate.clips import Frames

Setting = Literal["realtime", "offline"]
SETTINGS: tuple[Setting, ...] = ("realtime", "offline")
ENDLESS = 9999

Packets = list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What a peer made of a clip.

    Attributes:
        frame_bytes: payload of each frame in sending order.
        frames_NSS3: pictures as received, at the size of the source.
    """

    frame_bytes: tuple[int, ...]
    frames_NSS3: Frames


class Peer(Protocol):
    """A comparison codec."""

    @property
    def name(self) -> str:
        """Short name for tables."""

    def options(self, setting: Setting, bits_per_s: int) -> dict[str, str]:
        """Return the encoder's options, as FFmpeg takes them; they are kept in the result."""

    def send(self, frames_NSS3: Frames, fps: float, setting: Setting, size: int, bits_per_s: int) -> Sent:
        """Encode frames at ``size`` and about ``bits_per_s``, decode them, and scale them up again.

        Raises:
            TrainingError: the encoder is missing or fails.
        """


@dataclass(frozen=True, slots=True)
class FFmpegPeer:
    """A codec of FFmpeg.

    Attributes:
        name: short name for tables.
        encoder: FFmpeg's name.
        decoder: FFmpeg's name.
        realtime: options of a call; ``{kbit}`` stands for the bitrate in kbit/s.
        offline: options without hurry.
    """

    name: str
    encoder: str
    decoder: str
    realtime: tuple[tuple[str, str], ...]
    offline: tuple[tuple[str, str], ...]

    def options(self, setting: Setting, bits_per_s: int) -> dict[str, str]:
        """Return the encoder's options for a bitrate."""
        chosen = self.realtime if setting == "realtime" else self.offline
        return {key: value.replace("{kbit}", str(max(1, round(bits_per_s / 1000)))) for key, value in chosen}

    def send(self, frames_NSS3: Frames, fps: float, setting: Setting, size: int, bits_per_s: int) -> Sent:
        """Encode, decode, scale; see ``Peer.send``."""
        try:
            packets = self._encode(scaled(frames_NSS3, size), fps, setting, bits_per_s)
            decoder = av.CodecContext.create(self.decoder, "r")
            pictures = [rgb_from_frame(frame) for packet in (*packets, None) for frame in _decode(decoder, packet)]
        except av.codec.codec.UnknownCodecError as error:
            raise TrainingError(f"{self.name}: this build of PyAV lacks {error}") from error
        except FFmpegError as error:
            raise TrainingError(f"{self.name} failed: {error.strerror}") from error
        if len(pictures) != len(frames_NSS3):
            raise TrainingError(f"{self.name} gave {len(pictures)} of {len(frames_NSS3)} frames")
        received_NSS3 = scaled(np.stack(pictures), frames_NSS3.shape[1])
        return Sent(tuple(packet.size for packet in packets), received_NSS3)

    def _encode(self, frames_NSS3: Frames, fps: float, setting: Setting, bits_per_s: int) -> Packets:
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings otherwise
        rate = Fraction(fps).limit_denominator(1001)
        encoder = av.CodecContext.create(self.encoder, "w")
        assert isinstance(encoder, VideoCodecContext)
        encoder.height, encoder.width = frames_NSS3.shape[1:3]
        encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", rate, 1 / rate
        encoder.bit_rate, encoder.gop_size, encoder.thread_count = bits_per_s, ENDLESS, 1
        if setting == "realtime":
            encoder.max_b_frames = 0
        encoder.options = self.options(setting, bits_per_s)
        packets: Packets = []
        for position, rgb in enumerate(frames_NSS3):
            frame = frame_from_rgb(rgb)
            frame.pts, frame.time_base = position, 1 / rate
            packets.extend(encoder.encode(frame))
        packets.extend(encoder.encode(None))
        return packets


def _decode(decoder: av.CodecContext, packet: Any) -> list[av.VideoFrame]:
    assert isinstance(decoder, VideoCodecContext)
    return decoder.decode(packet)


def scaled(frames_NSS3: Frames, size: int) -> Frames:
    """Return frames at another size: Lanczos down, bicubic up."""
    if frames_NSS3.shape[1] == size:
        return frames_NSS3
    method = Image.Resampling.LANCZOS if size < frames_NSS3.shape[1] else Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(rgb).resize((size, size), method), np.uint8) for rgb in frames_NSS3])


PEERS: tuple[Peer, ...] = (
    FFmpegPeer(
        name="x264",
        encoder="libx264",
        decoder="h264",
        realtime=(
            ("preset", "medium"),
            ("tune", "zerolatency"),
            ("x264-params", "keyint=infinite:scenecut=0:vbv-maxrate={kbit}:vbv-bufsize={kbit}"),
        ),
        offline=(("preset", "veryslow"), ("x264-params", "keyint=infinite")),
    ),
    FFmpegPeer(
        name="x265",
        encoder="libx265",
        decoder="hevc",
        realtime=(
            ("preset", "medium"),
            ("tune", "zerolatency"),
            (
                "x265-params",
                "keyint=-1:scenecut=0:bframes=0:rc-lookahead=0:vbv-maxrate={kbit}:vbv-bufsize={kbit}:log-level=error",
            ),
        ),
        offline=(("preset", "slower"), ("x265-params", "keyint=-1:log-level=error")),
    ),
    FFmpegPeer(
        name="VP9",
        encoder="libvpx-vp9",
        decoder="vp9",
        realtime=(
            ("deadline", "realtime"),
            ("cpu-used", "5"),
            ("lag-in-frames", "0"),
            ("auto-alt-ref", "0"),
            ("aq-mode", "3"),
        ),
        offline=(("deadline", "good"), ("cpu-used", "1"), ("lag-in-frames", "25"), ("auto-alt-ref", "1")),
    ),
    FFmpegPeer(
        name="SVT-AV1",
        encoder="libsvtav1",
        decoder="libdav1d",
        realtime=(("preset", "8"), ("svtav1-params", "pred-struct=1:rc=2:keyint=-1:lookahead=0:scd=0:lp=1")),
        offline=(("preset", "3"), ("svtav1-params", "rc=1:keyint=600:lp=1")),
    ),
)
