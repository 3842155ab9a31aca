"""Evaluation, what we are up against: conventional codecs, really encoding and really decoding.

    frames -> scaled down? -> yuv420p -> ffmpeg -> bitstream -> ffmpeg -> scaled up -> pictures;  bytes of each frame

The bytes of a frame are those of its packet as FFmpeg hands it to the file: no container is counted, parameter sets
are. ``peer_table`` holds the codecs and their options. Shape legend: N frames, S height and width.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import av
import numpy as np
from PIL import Image

from codec.errors import TrainingError
from codec.frames import frame_from_rgb, rgb_from_frame
from training.evaluate.clips import Frames
from training.evaluate.ffmpeg import NAME, FFmpeg

Setting = Literal["realtime", "offline"]
SETTINGS: tuple[Setting, ...] = ("realtime", "offline")
Unit = Literal["kbit/s", "CRF", "QP"]
NUM_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What a peer made of a clip.

    Attributes:
        frame_bytes: payload of each frame in sending order.
        frames_NSS3: pictures as received, at the size of the source.
        command: that encoded it, as a shell takes it.
        encoder: name and version.
    """

    frame_bytes: tuple[int, ...]
    frames_NSS3: Frames
    command: str
    encoder: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a codec's ladder of rates.

    Attributes:
        scale: the pictures are coded smaller by this factor.
        target: what is asked for, in the mode's unit.
    """

    scale: int
    target: int


@dataclass(frozen=True, slots=True)
class Mode:
    """How a codec runs in one setting.

    Attributes:
        options: words of the command line; ``{target}`` stands for the target.
        unit: of the targets.
        ladder: targets by scale, from the coarsest on. Empty where the unit is kbit/s: bitrates are asked for from
            outside, qualities are the mode's own.
    """

    options: tuple[str, ...]
    unit: Unit
    ladder: tuple[tuple[int, tuple[int, ...]], ...] = ()


class Peer(Protocol):
    """A comparison codec."""

    @property
    def name(self) -> str:
        """Short name for tables."""

    def mode(self, setting: Setting) -> Mode:
        """Return how it runs; its options are kept in the result."""

    def send(self, ffmpeg: FFmpeg, frames_NSS3: Frames, fps: float, setting: Setting, rung: Rung) -> Sent:
        """Encode frames, decode them, and scale them up again.

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
        container: bare format that carries the bitstream.
        version: pattern of the encoder's own version, in what FFmpeg logs or in the bitstream.
        realtime: as in a call.
        offline: without hurry.
        num_bits: of a sample as decoded.
    """

    name: str
    encoder: str
    decoder: str
    container: str
    version: str
    realtime: Mode
    offline: Mode
    num_bits: int = 8

    def mode(self, setting: Setting) -> Mode:
        """Return how it runs."""
        return self.realtime if setting == "realtime" else self.offline

    def send(self, ffmpeg: FFmpeg, frames_NSS3: Frames, fps: float, setting: Setting, rung: Rung) -> Sent:
        """Encode, decode, scale; see ``Peer.send``."""
        size = frames_NSS3.shape[1]
        side = coded_side(size, rung.scale)
        encoder = encoder_version(ffmpeg, self)
        arguments = self.arguments(fps, setting, side, rung.target)
        planes = b"".join(frame_from_rgb(rgb).to_ndarray().tobytes() for rgb in scaled(frames_NSS3, side))
        try:
            bitstream, frame_bytes = _encode(ffmpeg, arguments, planes)
            pictures_NSS3 = self._decode(ffmpeg, bitstream, side)
        except TrainingError as error:
            raise TrainingError(f"{self.name} failed: {error}") from error
        if len(pictures_NSS3) != len(frames_NSS3):
            raise TrainingError(f"{self.name} gave {len(pictures_NSS3)} of {len(frames_NSS3)} frames")
        command = shlex.join([NAME, *arguments, f"clip.{self.container}"])
        return Sent(frame_bytes, scaled(pictures_NSS3, size), command, encoder)

    def arguments(self, fps: float, setting: Setting, side: int, target: int) -> list[str]:
        """Return the words of the encoder's command line, without its output."""
        rate = Fraction(fps).limit_denominator(1001)
        raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", f"{side}x{side}", "-framerate", str(rate)]
        options = [word.replace("{target}", str(target)) for word in self.mode(setting).options]
        return [*raw, "-i", "pipe:0", "-c:v", self.encoder, *options, "-threads", "1", "-f", self.container]

    def _decode(self, ffmpeg: FFmpeg, bitstream: bytes, side: int) -> Frames:
        pixels = "yuv420p" if self.num_bits == 8 else f"yuv420p{self.num_bits}le"
        sample: type[np.uint8 | np.uint16] = np.uint8 if self.num_bits == 8 else np.uint16
        source = ["-v", "error", "-threads", "1", "-f", self.container, "-c:v", self.decoder, "-i", "pipe:0"]
        output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "pipe:1"]
        planes: Any = np.frombuffer(ffmpeg.run([*source, *output], bitstream).data, sample)
        if planes.size == 0 or planes.size % (side * side * 3 // 2):
            raise TrainingError("its pictures are not of the size that was sent")
        planes_NHS = planes.reshape(-1, side * 3 // 2, side)
        frames = [av.VideoFrame.from_ndarray(planes_HS, format=pixels) for planes_HS in planes_NHS]
        return np.stack([rgb_from_frame(frame) for frame in frames])


def _encode(ffmpeg: FFmpeg, arguments: list[str], planes: bytes) -> tuple[bytes, tuple[int, ...]]:
    """Return the bitstream and the bytes of each packet.

    Through a file: VVenC prints warnings on standard output. About once in a hundred runs it writes nothing and reports
    no error; then it is asked again.

    Raises:
        TrainingError: it fails, or writes nothing time after time.
    """
    with tempfile.TemporaryDirectory() as folder:
        bitstream, sizes = Path(folder) / "bitstream", Path(folder) / "sizes"
        statistics = ["-stats_mux_pre", str(sizes), "-stats_mux_pre_fmt", "{size}"]
        for _ in range(NUM_ATTEMPTS):
            ffmpeg.run(["-v", "error", "-y", *arguments, *statistics, str(bitstream)], planes)
            frame_bytes = tuple(int(line) for line in sizes.read_text().split())
            if frame_bytes:
                return bitstream.read_bytes(), frame_bytes
    raise TrainingError("it wrote nothing")


@cache
def encoder_version(ffmpeg: FFmpeg, peer: FFmpegPeer) -> str:
    """Return an encoder's name and version, after one small picture coded.

    Raises:
        TrainingError: this build lacks the encoder.
    """
    source = ["-v", "verbose", "-f", "lavfi", "-i", "color=size=128x128:rate=25:duration=0.04"]
    try:
        output = ffmpeg.run([*source, "-c:v", peer.encoder, "-threads", "1", "-f", peer.container, "pipe:1"])
    except TrainingError as error:
        if "unknown encoder" in str(error).lower():
            raise TrainingError(f"{peer.name}: this build of ffmpeg lacks {peer.encoder}") from error
        raise TrainingError(f"{peer.name} failed: {error}") from error
    found = re.search(peer.version, output.log + output.data.decode("latin-1"))
    return f"{peer.encoder} {found[1].strip() if found else 'of unknown version'}"


def coded_side(size: int, scale: int) -> int:
    """Return the side of pictures coded smaller by a factor, even as 4:2:0 needs it."""
    return size // scale // 2 * 2


def scaled(frames_NSS3: Frames, size: int) -> Frames:
    """Return frames at another size: Lanczos down, bicubic up."""
    if frames_NSS3.shape[1] == size:
        return frames_NSS3
    method = Image.Resampling.LANCZOS if size < frames_NSS3.shape[1] else Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(rgb).resize((size, size), method), np.uint8) for rgb in frames_NSS3])
