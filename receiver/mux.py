"""Pictures and sound as H.264 and AAC in a file: scaled, encoded, muxed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from receiver.output import Picture, copied

logger = logging.getLogger(__name__)

VIDEO_TIME_BASE = Fraction(1, 90_000)
SOUND_RATE_HZ = 48_000
SOUND_GAP_S = 0.1
NOMINAL_FPS = 30
H264_OPTIONS = {"preset": "veryfast", "crf": "16"}
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


@dataclass(frozen=True, slots=True)
class Sound:
    """A frame of sound on its way to the file.

    Attributes:
        samples: int16, interleaved as PyAV's packed formats are.
        layout: "mono" or "stereo".
        pts_us: its place on the call's sound timeline, microseconds.
        arrival_us: when it was heard here, microseconds since the epoch.
    """

    samples: npt.NDArray[np.int16]
    layout: str
    pts_us: int
    arrival_us: int


class MediaFile:
    """A file with a video stream and perhaps a sound stream; used by one thread."""

    def __init__(
        self, path: Path, container: str, first: av.VideoFrame, video_start_us: int, sound_start_us: int | None
    ) -> None:
        """Open the file.

        Args:
            path: where to write.
            container: FFmpeg's name of the format, see ``CONTAINERS``.
            first: a picture of the size that all shall have.
            video_start_us: the timestamp of a picture at the file's time 0, microseconds.
            sound_start_us: the timestamp of a sound at the file's time 0; None when there is no sound.
        """
        self._video_start_us = video_start_us
        self._sound_start_us = sound_start_us
        self._last_video_pts = -1
        self._next_sound_pts = 0
        self._container = av.open(str(path), "w", format=container)
        self._video = self._container.add_stream("libx264", rate=NOMINAL_FPS, options=H264_OPTIONS)
        self._video.width, self._video.height = first.width, first.height
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = VIDEO_TIME_BASE
        self._sound: av.AudioStream | None = None
        if sound_start_us is not None:
            self._sound = self._container.add_stream("aac", rate=SOUND_RATE_HZ, layout="stereo")
            self._resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE_HZ)

    def write(self, item: Picture | Sound) -> None:
        """Encode one item."""
        if isinstance(item, Picture):
            self._write_picture(item)
        elif self._sound is not None:
            self._write_sound(item)

    def close(self) -> None:
        """Flush the coders and end the file."""
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            for frame in self._resampler.resample(None):
                self._container.mux(self._sound.encode(frame))
            self._container.mux(self._sound.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file after a failure, which may fail once more: its bytes are thrown away."""
        try:
            self._container.close()
        except (OSError, av.FFmpegError) as error:
            logger.debug("closing the broken recording: %s", error)

    def _write_picture(self, picture: Picture) -> None:
        frame = picture.frame
        if (frame.width, frame.height) != (self._video.width, self._video.height):
            frame = frame.reformat(width=self._video.width, height=self._video.height)
        frame = copied(frame)
        pts = (picture.pts_us - self._video_start_us) * VIDEO_TIME_BASE.denominator // 1_000_000
        if pts <= self._last_video_pts:
            return
        frame.pts = self._last_video_pts = pts
        frame.time_base = VIDEO_TIME_BASE
        self._container.mux(self._video.encode(frame))

    def _write_sound(self, sound: Sound) -> None:
        assert self._sound is not None
        assert self._sound_start_us is not None
        pts = (sound.pts_us - self._sound_start_us) * SOUND_RATE_HZ // 1_000_000
        if pts < 0:
            return
        if abs(pts - self._next_sound_pts) < SOUND_GAP_S * SOUND_RATE_HZ:
            pts = self._next_sound_pts
        elif pts < self._next_sound_pts:
            return
        frame = av.AudioFrame.from_ndarray(sound.samples, format="s16", layout=sound.layout)
        frame.sample_rate = SOUND_RATE_HZ
        frame.pts = pts
        frame.time_base = Fraction(1, SOUND_RATE_HZ)
        self._next_sound_pts = pts + frame.samples
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._sound.encode(resampled))
