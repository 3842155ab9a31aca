"""Data preparation: what is to be cut out of which video.

Task: one video with its Spans, the unit of parallel work; a Span is named, and is what a run resumes at
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LONGEST_S = 1e6
"""No video is longer."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the picture, in shares of its width and height."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Seconds:
    """A stretch of a video, from its first picture on; the end is not part of it."""

    start_s: float
    stop_s: float


def seconds(start: int, stop: int, fps: float) -> Seconds:
    """Return the stretch from one frame up to another.

    Raises:
        ValueError: it is empty, or lies where no video reaches.
    """
    if not (0 <= start < stop and 0 < fps < math.inf and stop / fps < LONGEST_S):
        raise ValueError(f"the stretch from frame {start} to frame {stop} is empty or too far")
    return Seconds(start / fps, stop / fps)


@dataclass(frozen=True, slots=True)
class ChunkFrames:
    """Frames of one of the pieces of about a minute that a video is thought to be cut into; the last is part of it."""

    chunk: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a video that may become clips.

    Attributes:
        name: unique in the task, without dashes.
        when: the stretch.
        box: the person's place, where it is published; None takes whom the sender would take.
        identity: who it is; None where that is not known.
        partition: train or test as published; None where there is none.
    """

    name: str
    when: Seconds | ChunkFrames
    box: Box | None = None
    identity: str | None = None
    partition: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One video's work.

    Attributes:
        key: names the record and begins the clips' names; without dashes, unique in a prepared folder.
        source: what people call the video: its path in the folder, or its YouTube id.
        path: the file; None when it is still to be downloaded.
        spans: what to cut.
    """

    key: str
    source: str
    path: Path | None
    spans: tuple[Span, ...]


def plain(name: str) -> str:
    """Return a name fit for the part of a file's name before a dash: letters, digits, dots and underscores."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name) or "_"


def keys_of(names: Mapping[str, str]) -> dict[str, str]:
    """Return a plain key for each source; those that would collide (on any file system) get a hash of their source.

    Args:
        names: what each source's key is made of.
    """
    taken = Counter(plain(name).lower() for name in names.values())
    return {
        source: plain(name) + (f".{_digest(source)}" if taken[plain(name).lower()] > 1 else "")
        for source, name in names.items()
    }


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:8]
