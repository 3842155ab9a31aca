"""A call on disk: H.264 and AAC, with the times of the sender's capture clock.

    pictures shown, sound played -> [wait for the clocks, 2 s at most] -> worker thread: receiver.mux -> file

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
from pathlib import Path

from codec.errors import OutputError
from receiver.mux import CONTAINERS, MediaFile, Sound
from receiver.output import Picture

logger = logging.getLogger(__name__)

CLOCK_WAIT_US = 2_000_000
QUEUE_LENGTH = 1000


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
        self._writer: MediaFile | None = None
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
                except Exception as error:  # the thread's top, and a boundary: the call goes on without a recording
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

    def _open(self, early: list[Picture | Sound]) -> MediaFile:
        """Open the file, tie the streams together, and write what was held back."""
        pictures = [item for item in early if isinstance(item, Picture)]
        sounds = [item for item in early if isinstance(item, Sound)]
        video_us, sound_us = self._video_offset_us, self._sound_offset_us
        if video_us is None or sound_us is None:
            video_us = min(item.arrival_us - item.pts_us for item in pictures)
            sound_us = min((item.arrival_us - item.pts_us for item in sounds), default=video_us)
        start_us = pictures[0].pts_us + video_us
        sound_start_us = start_us - sound_us if self._has_sound else None
        container = CONTAINERS[self.path.suffix.lower()]
        partial = temporary_path(self.path)
        writer = MediaFile(partial, container, pictures[0].frame, start_us - video_us, sound_start_us)
        for item in early:
            writer.write(item)
        early.clear()
        return writer
