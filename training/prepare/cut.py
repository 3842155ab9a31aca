"""Data preparation: the pictures of a stretch to clips.

    TimedPicture, ... -> Follower -> crop -> clips; the rest with the reason why

A clip ends at a scene cut, where the square jumps, where nobody is seen for a second (then it ends where somebody was
last seen), and at its longest length, where the next begins. Pictures between two detections are held back until the
next one has seen the person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codec.errors import TrainingError
from codec.face import Face, FaceTracker, Picture, Square, crop
from training.prepare.clip_file import ClipFile
from training.prepare.config import PrepareConfig
from training.prepare.follow import Follower, Sight
from training.prepare.record import Cut, LeftOut
from training.prepare.video import TimedPicture

LOST_S = 1.0
"""A person unseen for this long is gone."""
Embed = Callable[[Picture, Face], tuple[float, ...]]


@dataclass(slots=True)
class _OpenClip:
    """A clip that is being cut; its held pictures are not written yet."""

    file: ClipFile
    square: Square
    start_s: float
    stop_s: float
    num_frames: int = 0
    held: list[tuple[Picture, float]] = field(default_factory=list)
    embeddings: list[tuple[float, ...]] = field(default_factory=list)
    embed_from_s: float = 0.0

    def flush(self) -> None:
        for rgb, time_s in self.held:
            self.file.add(rgb, time_s)
            self.stop_s = time_s
        self.num_frames += len(self.held)
        self.held.clear()

    @property
    def length_s(self) -> float:
        """Seconds that the written pictures are shown."""
        return (self.stop_s - self.start_s) * self.num_frames / max(self.num_frames - 1, 1)


class Cutter:
    """Cuts one stretch.

    Args:
        config: size, quality and lengths.
        source: what people call the video.
        path: file of the clip with a number.
        new_follower: makes what follows the person through the next scene.
        embed: face to embedding, where who it is shall be found by the face.

    Attributes:
        clips: that are finished.
        left_out: stretches that became none.
        time_s: of the last picture taken; None before the first.
    """

    def __init__(
        self,
        config: PrepareConfig,
        source: str,
        path: Callable[[int], Path],
        new_follower: Callable[[], Follower],
        embed: Embed | None = None,
    ) -> None:
        self._config, self._source, self._path = config, source, path
        self._new_follower, self._embed = new_follower, embed
        self._follower: Follower | None = None
        self._square: Square | None = None
        self._open: _OpenClip | None = None
        self._absence: str | None = "no face"
        self.clips: list[Cut] = []
        self.left_out: list[LeftOut] = []
        self.time_s: float | None = None

    def cut(self, pictures: Iterable[TimedPicture]) -> None:
        """Take the pictures.

        Raises:
            TrainingError: they ended with a fault; the clips before it are finished.
            OutputError: a clip cannot be written.
        """
        try:
            for picture in pictures:
                self._take(picture)
                self.time_s = picture.time_s
            self._close()
        except TrainingError:
            self._close()
            raise
        finally:
            if self._open is not None:
                self._open.file.discard()

    def _take(self, picture: TimedPicture) -> None:
        if self._follower is None or picture.is_cut:
            self._close()
            self._follower, self._square, self._absence = self._new_follower(), None, "no face"
        sight = self._follower.follow(picture.rgb, picture.time_s)
        if self._square is not None and _has_jumped(self._square, sight.square):
            self._close()
        self._square = sight.square
        if sight.looked:
            self._absence = sight.absence
        if self._open is None and not self._begin(sight, picture.time_s):
            return
        self._hold(sight, picture)

    def _begin(self, sight: Sight, time_s: float) -> bool:
        """Open a clip where the person is in the square; else note why there is none."""
        reason = self._absence
        if reason is None and sight.square.size < self._config.least_square:
            reason = f"the square is smaller than {self._config.least_square:g} pixels"
        if reason is not None:
            self._leave_out(reason, time_s if self.time_s is None else self.time_s, time_s)
            return False
        file = ClipFile(self._path(len(self.clips)), self._config.size, self._config.crf)
        self._open = _OpenClip(file, sight.square, time_s, time_s)
        return True

    def _hold(self, sight: Sight, picture: TimedPicture) -> None:
        clip = self._open
        assert clip is not None
        clip.held.append((crop(picture.rgb, sight.square, self._config.size), picture.time_s))
        if sight.looked and sight.absence is None:
            clip.flush()
            self._look(clip, sight, picture)
        is_gone = sight.absence is not None and picture.time_s - clip.stop_s >= LOST_S
        if is_gone or picture.time_s - clip.start_s >= self._config.max_s:
            self._close()

    def _look(self, clip: _OpenClip, sight: Sight, picture: TimedPicture) -> None:
        """Embed the face at the clip's beginning and at twice the time since then, and again."""
        if self._embed is None or sight.face is None or picture.time_s < clip.embed_from_s:
            return
        clip.embeddings.append(self._embed(picture.rgb, sight.face))
        clip.embed_from_s = picture.time_s + max(picture.time_s - clip.start_s, 1.0)

    def _close(self) -> None:
        """Finish the clip with the held pictures, but not with those since somebody looked and saw nobody."""
        clip, self._open = self._open, None
        if clip is None:
            return
        with clip.file:
            if self._absence is None:
                clip.flush()
            elif clip.held:
                self._leave_out(self._absence, clip.stop_s, clip.held[-1][1])
            if clip.num_frames >= 2 and clip.length_s >= self._config.min_s:
                clip.file.keep()
                self.clips.append(self._finished(clip))
            elif clip.num_frames:
                self._leave_out(f"shorter than {self._config.min_s:g} s", clip.start_s, clip.stop_s)

    def _finished(self, clip: _OpenClip) -> Cut:
        square = clip.square
        mean = np.mean(clip.embeddings, axis=0).round(5).tolist() if clip.embeddings else []
        return Cut(
            name=self._path(len(self.clips)).stem,
            source=self._source,
            start_s=round(clip.start_s, 3),
            stop_s=round(clip.stop_s, 3),
            num_frames=clip.num_frames,
            left=round(square.center_x - square.size / 2, 1),
            top=round(square.center_y - square.size / 2, 1),
            side=round(square.size, 1),
            embedding=tuple(mean),
        )

    def _leave_out(self, reason: str, start_s: float, stop_s: float) -> None:
        """Note a stretch; neighbours with the same reason become one."""
        start_s, stop_s = round(start_s, 3), round(stop_s, 3)
        if self.left_out and self.left_out[-1].reason == reason and start_s <= self.left_out[-1].stop_s:
            start_s = self.left_out.pop().start_s
        self.left_out.append(LeftOut(self._source, start_s, stop_s, reason))


def _has_jumped(before: Square, after: Square) -> bool:
    moved = max(abs(after.center_x - before.center_x), abs(after.center_y - before.center_y))
    return moved > FaceTracker.JUMP * before.size
