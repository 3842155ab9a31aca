"""Before stage 1: read pictures and sound in threads of their own.

    Source (live | paced by its timestamps) -> Reader -> on_frame(frame, capture time)

Every frame carries the moment of its capture in microseconds since the epoch: of its arrival when the source is live,
of its place on the timeline when it is played. Pictures and sound of a file share one ``Timeline``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from codec.errors import CaptureError
from sender.source import READ_TIMEOUT_S, Source, reason

logger = logging.getLogger(__name__)

Frame = VideoFrame | AudioFrame
OnFrame = Callable[[Frame, int], None]
OnEnd = Callable[[BaseException | None], None]

LATE_S = 0.1
"""A picture of a played source that is later than this is skipped..."""
STARVED_S = 0.2
"""...unless there was none for this long: a machine that decodes too slowly still shows something."""


class Timeline:
    """When a played source began: the clock that its pictures and sound share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start_s: float | None = None
        self._start_us = 0

    def begin(self) -> None:
        """Start now, unless it was started already."""
        with self._lock:
            if self._start_s is None:
                self._start_us = time.time_ns() // 1000
                self._start_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        self.begin()
        assert self._start_s is not None
        return time.monotonic() - self._start_s

    def epoch_us(self, media_s: float) -> int:
        """Return the moment, microseconds since the epoch, of a place on the timeline."""
        self.begin()
        return self._start_us + round(media_s * 1_000_000)


class Reader:
    """Reads one stream of a source in a thread of its own.

    Args:
        source: closed when the reader ends.
        timeline: of a played source; share it between pictures and sound.
        on_frame: called in the thread with each frame and its capture time (microseconds since the epoch).
        on_end: called in the thread, once: with None at the end of a file or after ``stop``, else with what went wrong.
    """

    def __init__(self, source: Source, timeline: Timeline, on_frame: OnFrame, on_end: OnEnd) -> None:
        self._source = source
        self._timeline = timeline
        self._on_frame = on_frame
        self._on_end = on_end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{source.kind} reader", daemon=True)
        self.num_late = 0
        """Pictures skipped because they came too late to be shown in time."""

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, as far as the device lets it: a stuck driver is left to the daemon thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=READ_TIMEOUT_S)
        elif self._thread.ident is None:
            self._source.container.close()

    def _run(self) -> None:
        try:
            with self._source.container:
                self._read()
        except av.FFmpegError as error:
            self._on_end(CaptureError(f"cannot read {self._source.name} any more: {reason(error)}"))
        except Exception as error:  # the thread's top: whatever a stage raised is the session's to report
            logger.debug("reading %s ended", self._source.name, exc_info=True)
            self._on_end(error)
        else:
            self._on_end(None)

    def _read(self) -> None:
        if self._source.live:
            for frame, _ in self._frames():
                first_sample_us = _duration_us(frame) if isinstance(frame, AudioFrame) else 0
                self._on_frame(frame, time.time_ns() // 1000 - first_sample_us)
            return
        given_s = float("-inf")
        for frame, media_s in self._frames():
            now_s = self._timeline.elapsed_s
            if media_s > now_s and self._stopping.wait(media_s - now_s):
                return
            if now_s - media_s > LATE_S and now_s - given_s < STARVED_S and self._source.kind == "video":
                self.num_late += 1
            else:
                given_s = now_s
                self._on_frame(frame, self._timeline.epoch_us(media_s))

    def _frames(self) -> Iterator[tuple[Frame, float]]:
        """Yield frames with their place on the timeline, seconds."""
        offset_s, num_frames = 0.0, 0
        while True:
            first_s: float | None = None
            end_s = 0.0
            for frame in self._decode():
                time_s = frame.time if frame.time is not None else end_s
                first_s = time_s if first_s is None else first_s
                yield frame, offset_s + time_s - first_s
                end_s = time_s + _duration_us(frame) / 1e6
                num_frames += 1
                if self._stopping.is_set():
                    return
            if num_frames == 0:
                raise CaptureError(f"{self._source.name} has no {self._source.kind} that can be decoded")
            if not self._source.loop:
                return
            offset_s += self._length_s(end_s - (first_s or 0.0))
            self._source.container.seek(0)

    def _decode(self) -> Iterator[Frame]:
        container = self._source.container
        frames = container.decode(video=0) if self._source.kind == "video" else container.decode(audio=0)
        yield from frames

    def _length_s(self, decoded_s: float) -> float:
        """Seconds of one turn of a loop: the container's, so that its pictures and sound stay together."""
        length = self._source.container.duration
        return length / av.time_base if length else decoded_s


def _duration_us(frame: Frame) -> int:
    if isinstance(frame, AudioFrame):
        return round(frame.samples * 1_000_000 / frame.sample_rate)
    if frame.duration and frame.time_base:
        return round(frame.duration * frame.time_base * 1_000_000)
    return 0
