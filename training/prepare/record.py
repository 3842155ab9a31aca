"""Data preparation, memory: what became of each stretch of a video.

    records/KEY.json: spans that are done, each with its clips and with what was left out and why

A record is written whole or not at all after each span; a run goes on with the spans that it lacks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codec.errors import OutputError
from training.prepare.task import Task


@dataclass(frozen=True, slots=True)
class Cut:
    """A clip.

    Attributes:
        name: of the file without identity and suffix: KEY-SPAN-NUMBER.
        source: what people call the video.
        start_s: time of the first picture, from the video's first.
        stop_s: time of the last picture.
        num_frames: pictures.
        left: of the first picture's square, pixels of the video.
        top: of the first picture's square, pixels of the video.
        side: of the first picture's square, pixels of the video.
        identity: who it is, where that is published or named.
        partition: train or test, where that is published.
        embedding: mean of the face's embeddings, where who it is shall be found by the face.
    """

    name: str
    source: str
    start_s: float
    stop_s: float
    num_frames: int
    left: float
    top: float
    side: float
    identity: str | None = None
    partition: str | None = None
    embedding: tuple[float, ...] = ()

    @property
    def fps(self) -> float:
        """Pictures a second."""
        return (self.num_frames - 1) / max(self.stop_s - self.start_s, 1e-9)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A stretch that became no clip, and why."""

    source: str
    start_s: float
    stop_s: float
    reason: str


@dataclass(slots=True)
class Record:
    """What became of a task's spans, by their names."""

    clips: dict[str, list[Cut]] = field(default_factory=dict)
    left_out: dict[str, list[LeftOut]] = field(default_factory=dict)

    def lacks(self, task: Task) -> bool:
        """Return whether a span of the task is still to be done."""
        return any(span.name not in self.clips for span in task.spans)


def record_path(out: Path, key: str) -> Path:
    """Return the file of a task's record."""
    return out / "records" / f"{key}.json"


def load_record(path: Path) -> Record:
    """Return a record; a missing or damaged file is an empty one."""
    try:
        parts = json.loads(path.read_text())
        return Record(
            {
                name: [Cut(**{**cut, "embedding": tuple(cut["embedding"])}) for cut in cuts]
                for name, cuts in parts["clips"].items()
            },
            {name: [LeftOut(**row) for row in rows] for name, rows in parts["left_out"].items()},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Record()


def load_records(out: Path) -> Iterator[Record]:
    """Give every record of a prepared folder, by name."""
    for path in sorted((out / "records").glob("*.json")):
        yield load_record(path)


def save_record(path: Path, record: Record) -> None:
    """Write a record whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(path, json.dumps(dataclasses.asdict(record)))


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all, with its folder.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
