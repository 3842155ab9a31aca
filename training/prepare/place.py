"""Data preparation, last step: clips to their folders, with the manifest.

    staged/CLIP.mp4, records -> train|val|test/IDENTITY-CLIP.mp4, manifest.csv, left_out.csv

Files are moved, never copied; a run that is stopped here finds them wherever they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codec.errors import OutputError
from training.prepare.record import Cut, LeftOut, write_whole
from training.prepare.split import SPLITS

STAGED = "staged"
CLIP_COLUMNS = (
    "file", "split", "identity", "source", "start_s", "stop_s", "frames", "fps", "left", "top", "side",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip with its identity and split; a split of None leaves it out."""

    cut: Cut
    identity: str
    split: str

    @property
    def file(self) -> str:
        """Path in the prepared folder."""
        return f"{self.split}/{file_name(self.cut.name, self.identity)}"


def file_name(clip: str, identity: str) -> str:
    """Return a clip's file name; the identity leads, once where the video itself is the identity."""
    return f"{clip}.mp4" if clip.split("-")[0] == identity else f"{identity}-{clip}.mp4"


def clip_name(path: Path) -> str:
    """Return the name of the clip in a file: KEY-SPAN-NUMBER, without identity."""
    return "-".join(path.stem.split("-")[-3:])


def find_clips(out: Path) -> dict[str, Path]:
    """Return where each clip of a prepared folder lies, by its name."""
    return {clip_name(path): path for folder in (STAGED, *SPLITS) for path in (out / folder).glob("*.mp4")}


def place(out: Path, clips: Iterable[Placed]) -> None:
    """Move clips to where they belong.

    Raises:
        OutputError: one cannot be moved.
    """
    lying = find_clips(out)
    for clip in clips:
        path = out / clip.file
        try:
            if lying[clip.cut.name] != path:
                path.parent.mkdir(exist_ok=True)
                lying[clip.cut.name].replace(path)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def tidy(out: Path, clips: Iterable[str]) -> None:
    """Remove what a run that was stopped left behind: partial files, and clips that no record knows."""
    known = set(clips)
    for path in (out / STAGED).glob("*"):
        if path.suffix == ".part" or clip_name(path) not in known:
            path.unlink()


def read_manifest(out: Path) -> dict[str, tuple[str, str]]:
    """Return identity and split by clip, as an earlier run placed them; none where it did not come so far."""
    try:
        with (out / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
            return {clip_name(Path(row["file"])): (row["identity"], row["split"]) for row in rows}
    except (OSError, KeyError, csv.Error):
        return {}


def write_manifest(out: Path, clips: Iterable[Placed], left_out: Iterable[LeftOut]) -> None:
    """Write manifest.csv and left_out.csv.

    Raises:
        OutputError: they cannot be written.
    """
    rows = (
        (
            clip.file, clip.split, clip.identity, clip.cut.source, clip.cut.start_s, clip.cut.stop_s,
            clip.cut.num_frames, round(clip.cut.fps, 2), clip.cut.left, clip.cut.top, clip.cut.side,
        )
        for clip in clips
    )  # fmt: skip
    write_whole(out / "left_out.csv", _csv(("source", "start_s", "stop_s", "reason"), map(_row, left_out)))
    write_whole(out / "manifest.csv", _csv(CLIP_COLUMNS, rows))


def _row(row: LeftOut) -> tuple[object, ...]:
    return row.source, row.start_s, row.stop_s, row.reason


def _csv(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
