"""Data preparation: the lists of TalkingHead-1KH.

    train_video_tubes.txt -> Span, Span, ...            ID_0003, HEIGHT, WIDTH, FIRST, LAST, LEFT, TOP, RIGHT, BOTTOM
    a video -> chunk_frames -> the times of its pieces' frames

The set's authors cut each video without decoding into pieces of a minute, ``ffmpeg -c copy -f segment -segment_time
60``, and count frames from the beginning of a piece. A piece begins at the first keyframe at or after each full minute,
so its place is found here from the keyframes of the video; nothing is cut twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from codec.errors import TrainingError
from training.prepare.task import Box, ChunkFrames, Seconds, Span

CHUNK_S = 60.0
PARTITIONS = {"train": "train", "small": "train", "val": "test"}


def read_tubes(path: Path, partition: str) -> tuple[dict[str, list[Span]], list[str]]:
    """Read a list of tubes.

    Args:
        path: the list.
        partition: train or test.

    Returns:
        The spans by YouTube id, and one line for each line of the list that cannot be read.

    Raises:
        TrainingError: the list cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    spans: dict[str, list[Span]] = {}
    faults = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            video, span = _span(line, partition)
        except ValueError:
            faults.append(f"{path.name}, line {number}: is no tube ({line.strip()[:60]!r})")
            continue
        spans.setdefault(video, []).append(span)
    return spans, faults


def _span(line: str, partition: str) -> tuple[str, Span]:
    name, *numbers = (field.strip() for field in line.split(","))
    height, width, first, last, left, top, right, bottom = (int(number) for number in numbers)
    video, _, chunk = name.rpartition("_")
    if (
        not video
        or "/" in video
        or not (0 <= first < last and 0 <= left < right <= width and 0 <= top < bottom <= height)
    ):
        raise ValueError(line)
    box = Box(left / width, top / height, right / width, bottom / height)
    when = ChunkFrames(int(chunk), first, last)
    # Two people may have tubes over the same frames: the place tells them apart.
    return video, Span(f"{int(chunk):04d}.{first:05d}.{left:04d}.{top:04d}", when, box, partition=partition)


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """When a video's frames are shown, seconds from its first, by the pieces of about a minute.

    Attributes:
        chunks: for each piece its frames' times.
    """

    chunks: tuple[tuple[float, ...], ...]

    def seconds(self, when: ChunkFrames) -> Seconds:
        """Return the stretch that frames of a piece take.

        Raises:
            TrainingError: the video has no such frames; the message is the reason alone.
        """
        if when.chunk >= len(self.chunks) or when.first >= len(self.chunks[when.chunk]):
            raise TrainingError(f"the video ends before frame {when.first} of piece {when.chunk}")
        times = self.chunks[when.chunk]
        last = min(when.last, len(times) - 1)
        # Half a frame to either side, so that rounding takes none and adds none.
        half = (times[-1] - times[0]) / max(len(times) - 1, 1) / 2
        return Seconds(times[when.first] - half, times[last] + half)


def chunk_frames(path: Path) -> FrameTimes:
    """Find where the pieces of a video would be cut, and when their frames are shown; nothing is decoded.

    Raises:
        TrainingError: the video cannot be read; the message is the reason alone.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packets = [
                (float(packet.pts * packet.time_base), packet.is_keyframe)
                for packet in container.demux(stream)
                if packet.pts is not None
            ]
    except (FFmpegError, IndexError) as error:
        raise TrainingError(f"cannot be read ({error})") from error
    if not packets:
        raise TrainingError("holds no pictures")
    packets.sort()
    origin = packets[0][0]
    chunks: list[list[float]] = [[]]
    for time_s, is_keyframe in packets:
        if is_keyframe and chunks[-1] and time_s >= CHUNK_S * len(chunks):
            chunks.append([])
        chunks[-1].append(time_s - origin)
    return FrameTimes(tuple(tuple(times) for times in chunks))
