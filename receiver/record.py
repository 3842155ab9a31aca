"""A call on disk: H.264 and AAC, with the times of the sender's capture clock.

    pictures shown, sound played -> [wait for the clocks, 2 s at most] -> worker thread: scale, encode, mux -> file

Times are those of the streams themselves, which the sender took at capture, so neither the network's jitter nor the
generator's speed shows. What joins picture and sound is the capture clock; until both ``Clock`` messages have come the
first two seconds wait in memory, and when none comes the times of arrival do instead. The file is written under a
temporary name and renamed when it is whole.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from codec.errors import OutputError
from receiver.output import Picture, copied

logger = logging.getLogger(__name__)

VIDEO_TIME_BASE = Fraction(1, 90_000)
SOUND_RATE_HZ = 48_000
CLOCK_WAIT_US = 2_000_000
QUEUE_LENGTH = 1000
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


def temporary_path(path: Path) -> Path:
    """Return the name under which a file is written until it is whole: hidden, in the same folder."""
    return path.with_name(f".{path.name}.partial")


def check_writable(path: Path, option: str) -> None:
    """Check that a file can be written at a path, before there is anything to write.

    Raises:
        OutputError: it cannot; the message names the option and the path.
    """
    if path.is_dir():
        raise OutputError(f"{option} {path}: it is a folder")
    probe = temporary_path(path)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{option} {path}: {error.strerror or error}") from error


def numbered(path: Path, number: int) -> Path:
    """Return the path of the n-th call's file: NAME.mp4, NAME-2.mp4, NAME-3.mp4 ..."""
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


class Recorder:
    """Writes one call to one file.

    ``put_picture`` and ``put_sound`` never block and never raise; ``finish`` says what went wrong.
    """

    def __init__(self, path: Path, *, has_sound: bool) -> None:
        """Set up a recorder; nothing is opened before the first picture.

        Args:
            path: the file, with one of the suffixes of ``CONTAINERS``.
            has_sound: whether the call has sound.
        """
        self.path = path
        self.num_dropped = 0
        self._has_sound = has_sound
        self._video_offset_us: int | None = None
        self._sound_offset_us: int | None = None
        self._queue: queue.Queue[Picture | Sound | None] = queue.Queue(QUEUE_LENGTH)
        self._error: Exception | None = None
        self._writer: _Writer | None = None
        self._thread = threading.Thread(target=self._run, name="recorder")
        self._thread.start()

    def set_clocks(self, video_offset_us: int | None, sound_offset_us: int | None) -> None:
        """Tell what to add to each stream's timestamps to have the capture clock's time; None while not known."""
        self._video_offset_us = video_offset_us
        self._sound_offset_us = sound_offset_us

    def put_picture(self, picture: Picture) -> None:
        """Record a picture."""
        self._put(picture)

    def put_sound(self, sound: Sound) -> None:
        """Record a frame of sound."""
        if self._has_sound:
            self._put(sound)

    def finish(self) -> Path | None:
        """Write what is left and close the file; blocks.

        Returns:
            The file's path, or None when there was no picture to record.

        Raises:
            OutputError: the recording could not be written. Nothing is left at its path.
        """
        self._queue.put(None)
        self._thread.join()
        partial = temporary_path(self.path)
        if self._error is not None:
            partial.unlink(missing_ok=True)
            raise OutputError(f"cannot record to {self.path}: {self._error}") from self._error
        if self._writer is None:
            return None
        try:
            os.replace(partial, self.path)
        except OSError as error:
            raise OutputError(f"cannot rename {partial} to {self.path}: {error.strerror}") from error
        return self.path

    def _put(self, item: Picture | Sound) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.num_dropped += 1

    def _run(self) -> None:
        """Encode until ``finish``; after a failure the rest is taken and forgotten."""
        early: list[Picture | Sound] = []
        while True:
            item = self._queue.get()
            if self._error is None:
                try:
                    self._take(early, item)
                except (OSError, av.FFmpegError, ValueError) as error:
                    self._fail(error)
            if item is None:
                return

    def _take(self, early: list[Picture | Sound], item: Picture | Sound | None) -> None:
        """Write one item, or hold it back while the clocks are awaited; None ends the file."""
        if self._writer is None:
            if item is not None:
                early.append(item)
            if self._is_ready(early, is_last=item is None):
                self._writer = self._open(early)
        elif item is not None:
            self._writer.write(item)
        if item is None and self._writer is not None:
            self._writer.close()

    def _fail(self, error: Exception) -> None:
        logger.warning("recording to %s failed: %s", self.path, error)
        self._error = error
        if self._writer is not None:
            self._writer.abandon()

    def _is_ready(self, early: list[Picture | Sound], *, is_last: bool) -> bool:
        """Whether there is a picture, and the clocks are known or were waited for long enough."""
        if not any(isinstance(item, Picture) for item in early):
            del early[:-QUEUE_LENGTH]
            return False
        if is_last or not self._has_sound or None not in (self._video_offset_us, self._sound_offset_us):
            return True
        return early[-1].arrival_us - early[0].arrival_us > CLOCK_WAIT_US

    def _open(self, early: list[Picture | Sound]) -> _Writer:
        """Open the file, tie the streams together, and write what was held back."""
        pictures = [item for item in early if isinstance(item, Picture)]
        sounds = [item for item in early if isinstance(item, Sound)]
        video_us, sound_us = self._video_offset_us, self._sound_offset_us
        if video_us is None or sound_us is None:
            video_us = min(item.arrival_us - item.pts_us for item in pictures)
            sound_us = min((item.arrival_us - item.pts_us for item in sounds), default=video_us)
        start_us = pictures[0].pts_us + video_us
        sound_start_us = start_us - sound_us if self._has_sound else None
        writer = _Writer(self.path, pictures[0].frame, start_us - video_us, sound_start_us)
        for item in early:
            writer.write(item)
        early.clear()
        return writer


class _Writer:
    """An open file with its two streams; lives in the recorder's thread."""

    def __init__(self, path: Path, first: av.VideoFrame, video_start_us: int, sound_start_us: int | None) -> None:
        self._video_start_us = video_start_us
        self._sound_start_us = sound_start_us
        self._last_video_pts = -1
        self._next_sound_pts = 0
        self._container = av.open(str(temporary_path(path)), "w", format=CONTAINERS[path.suffix.lower()])
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
