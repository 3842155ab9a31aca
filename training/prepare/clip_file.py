"""Data preparation: write a clip, whole or not at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame

from codec.errors import OutputError
from codec.face import Picture
from codec.frames import frame_from_rgb

TIME_BASE = Fraction(1, 90_000)


class ClipFile:
    """An H.264 file of square pictures, each at its time; it gets its name when it is kept.

    Args:
        path: mp4 file; written beside it until it is kept.
        size: height and width of the pictures, pixels.
        crf: x264's constant quality.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, size: int, crf: int) -> None:
        self._path, self._partial = path, path.with_suffix(".part")
        self._first_s: float | None = None
        self._last_pts = self._interval = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format="mp4")
            self._stream = self._container.add_stream("libx264", rate=30, options={"crf": str(crf), "threads": "1"})
        except (OSError, FFmpegError) as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error
        self._stream.width, self._stream.height, self._stream.pix_fmt = size, size, "yuv420p"
        self._stream.codec_context.time_base = TIME_BASE

    def add(self, rgb: Picture, time_s: float) -> None:
        """Append a picture, (S, S, 3); times rise."""
        if self._first_s is None:
            self._first_s = time_s
        frame = frame_from_rgb(rgb)
        frame.pts, frame.time_base = round((time_s - self._first_s) / TIME_BASE), TIME_BASE
        self._interval, self._last_pts = frame.pts - self._last_pts, frame.pts
        try:
            self._mux(frame)
        except FFmpegError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from error

    def keep(self) -> None:
        """Finish the file and give it its name."""
        try:
            self._mux(None)
            self._container.close()
            self._partial.replace(self._path)
        except (OSError, FFmpegError) as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from error

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            # Else the last picture would last a thirtieth of a second, and the rate would be off by as much.
            packet.duration = self._interval
            self._container.mux(packet)

    def discard(self) -> None:
        """Leave nothing behind; a kept file stays."""
        self._container.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Discard what was not kept."""
        self.discard()
