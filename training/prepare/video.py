"""Data preparation: read a stretch of a video.

    file -> decode -> at most so many a second -> upright -> TimedPicture, with scene cuts marked

Scene cuts are found by libavfilter's ``scdet`` on small pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame

from codec.errors import TrainingError
from codec.face import Picture
from codec.frames import rgb_from_frame
from training.prepare.task import Seconds

# Score of the first picture after a cut, 0 to 100. Four recordings of one shot each reach 0.5 to 3.9 at the wildest
# movement; the transitions of a vlog start at 7.2.
CUT_SCORE = 6.0
CUT_PICTURE = "160:-2"


@dataclass(frozen=True, slots=True, eq=False)
class TimedPicture:
    """A picture of a video.

    Attributes:
        rgb: (H, W, 3).
        time_s: from the video's first picture on.
        is_cut: whether another scene begins with it, or what came before cannot be decoded.
    """

    rgb: Picture
    time_s: float
    is_cut: bool


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height of a video's pictures, pixels.

    Raises:
        TrainingError: it cannot be read or has no pictures; the message is the reason alone.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise TrainingError("has no pictures")
            codec = container.streams.video[0].codec_context
            return codec.width, codec.height
    except FFmpegError as error:
        raise TrainingError(f"cannot be read ({error.strerror})") from error


def read_pictures(path: Path, when: Seconds, max_fps: float) -> Iterator[TimedPicture]:
    """Read the pictures of a stretch.

    Args:
        path: the video.
        when: the stretch; it may reach over the video's end.
        max_fps: pictures that follow faster are dropped.

    Raises:
        TrainingError: the video cannot be opened, or not decoded any further; the message is the reason alone.
    """
    cuts, due_s, was_corrupt = SceneCuts(), when.start_s, False
    for frame, time_s in _frames(path, when):
        if frame.is_corrupt:
            was_corrupt = True
        elif time_s >= due_s:
            due_s = time_s + 0.9 / max_fps
            is_cut = cuts.is_cut(frame) or was_corrupt
            was_corrupt = False
            yield TimedPicture(upright(rgb_from_frame(frame), frame.rotation), time_s, is_cut)


def upright(rgb: Picture, rotation: int) -> Picture:
    """Turn a picture as its file says, in quarters.

    Args:
        rgb: (H, W, 3).
        rotation: degrees, anticlockwise.
    """
    return np.ascontiguousarray(np.rot90(rgb, round(rotation / 90)))


def _frames(path: Path, when: Seconds) -> Iterator[tuple[VideoFrame, float]]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise TrainingError("has no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            origin_s = float((stream.start_time or 0) * (stream.time_base or 0))
            if when.start_s > 0 and stream.time_base:
                container.seek(int((origin_s + when.start_s) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is None:
                    continue
                time_s = frame.time - origin_s
                if time_s >= when.stop_s:
                    return
                if time_s >= when.start_s:
                    yield frame, time_s
    except FFmpegError as error:
        raise TrainingError(f"cannot be decoded ({error.strerror})") from error


class SceneCuts:
    """Tells for each picture whether another scene begins with it."""

    def __init__(self) -> None:
        self._format: tuple[int, int, str] | None = None
        self._graph = Graph()

    def is_cut(self, frame: VideoFrame) -> bool:
        """Take the next picture; one of another size or pixel format is a cut."""
        kind = (frame.width, frame.height, frame.format.name)
        changed = kind != self._format
        is_first = self._format is None
        if changed:
            self._graph, self._format = _graph(frame), kind
        self._graph.push(frame)
        scored = self._graph.pull()
        score = float(scored.metadata.get("lavfi.scd.score", 0.0))
        return not is_first and (changed or score >= CUT_SCORE)


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    nodes = (
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
        graph.add("scale", CUT_PICTURE),
        graph.add("scdet"),
        graph.add("buffersink"),
    )
    graph.link_nodes(*nodes).configure()
    return graph
