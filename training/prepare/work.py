"""Data preparation, one video: what a worker does.

Task -> download -> for each Span: read, follow, cut -> record
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path

from codec.errors import TrainingError
from codec.face import Detector, FaceDetector
from training.prepare.config import FolderConfig, PrepareConfig, PublishedConfig
from training.prepare.cut import Cutter, Embed
from training.prepare.download import download
from training.prepare.executor import Outcome, ShouldStop
from training.prepare.follow import BoxFollower, FaceFollower, Follower, square_of_box
from training.prepare.identity import embed
from training.prepare.place import STAGED
from training.prepare.record import Cut, LeftOut, load_record, record_path, save_record
from training.prepare.talkinghead import FrameTimes, chunk_frames
from training.prepare.task import ChunkFrames, Seconds, Span, Task
from training.prepare.video import TimedPicture, picture_size, read_pictures

# The square around a face moves and differs from the published box; boxes that are this much too small are not decoded.
BOX_LEEWAY = 0.7


@cache
def face_detector() -> Detector:
    """Return this process's face detector."""
    return FaceDetector()


def prepare_task(config: PrepareConfig, task: Task, should_stop: ShouldStop) -> Outcome:
    """Cut one video, as far as its record does not have it yet.

    Args:
        config: of the set.
        task: the video.
        should_stop: asked at every picture.

    Raises:
        OutputError: a clip or record cannot be written.
        KeyboardInterrupt: it should stop; the record has what was finished.
    """
    try:
        path = task.path or _downloaded(config, task)
        size = picture_size(path)
        times = chunk_frames(path) if any(isinstance(span.when, ChunkFrames) for span in task.spans) else None
    except TrainingError as error:
        return Outcome(0, str(error))
    file = record_path(config.out, task.key)
    record = load_record(file)
    for span in task.spans:
        if span.name not in record.clips:
            clips, left_out = _Stretch(config, task, span, path, size, times).cut(should_stop)
            record.clips[span.name], record.left_out[span.name] = clips, left_out
            save_record(file, record)
    return Outcome(sum(map(len, record.clips.values())))


def _downloaded(config: PrepareConfig, task: Task) -> Path:
    assert isinstance(config, PublishedConfig)
    return download(task.source, config.videos, config.max_height)


@dataclasses.dataclass(frozen=True, slots=True)
class _Stretch:
    """One span of a video."""

    config: PrepareConfig
    task: Task
    span: Span
    path: Path
    size: tuple[int, int]
    times: FrameTimes | None

    def cut(self, should_stop: ShouldStop) -> tuple[list[Cut], list[LeftOut]]:
        """Return its clips, and what was left out."""
        cutter = Cutter(self.config, self.task.source, self.clip_path, self.new_follower(), self.embedding)
        when = Seconds(0.0, 0.0)
        try:
            self.check_box()
            when = self.seconds()
            cutter.cut(_until(should_stop, read_pictures(self.path, when, self.config.max_fps)))
            if cutter.time_s is None:
                raise TrainingError("the video has no picture there")
        except TrainingError as error:
            at_s = when.start_s if cutter.time_s is None else cutter.time_s
            cutter.left_out.append(LeftOut(self.task.source, at_s, max(at_s, when.stop_s), str(error)))
        who, part = self.span.identity, self.span.partition
        return [dataclasses.replace(clip, identity=who, partition=part) for clip in cutter.clips], cutter.left_out

    def clip_path(self, number: int) -> Path:
        """Return the file of the clip with a number."""
        return self.config.out / STAGED / f"{self.task.key}-{self.span.name}-{number:02d}.mp4"

    def check_box(self) -> None:
        """Refuse a published box that is far too small."""
        if self.span.box is None:
            return
        side, least = square_of_box(self.span.box, *self.size).size, self.config.least_square
        if side < BOX_LEEWAY * least:
            raise TrainingError(f"the square is smaller than {least:g} pixels")

    def seconds(self) -> Seconds:
        """Return when the stretch is."""
        if isinstance(self.span.when, Seconds):
            return self.span.when
        assert self.times is not None
        return self.times.seconds(self.span.when)

    def new_follower(self) -> Callable[[], Follower]:
        """Return what makes followers for this stretch."""
        box = self.span.box
        if box is not None and isinstance(self.config, PublishedConfig) and self.config.crop == "published":
            return partial(BoxFollower, box)
        return partial(FaceFollower, face_detector(), self.config.framing, box)

    @property
    def embedding(self) -> Embed | None:
        """What embeds faces, where who it is shall be found by them."""
        return embed if isinstance(self.config, FolderConfig) and self.config.identity == "faces" else None


def _until(should_stop: ShouldStop, pictures: Iterable[TimedPicture]) -> Iterator[TimedPicture]:
    for picture in pictures:
        if should_stop():
            raise KeyboardInterrupt
        yield picture
