"""Data preparation: tables of video, stretch and box, as VoxCeleb and TED-talk are published.

    vox-metadata.csv, ted384-metadata.csv -> Span, Span, ...

Columns: video_id (with ``#PERSON`` behind it in some), start and end (frames at ``fps``), bbox (left-top-right-bottom
in a picture of ``width`` times ``height``), partition, and person_id for VoxCeleb.
"""

from __future__ import annotations

import csv
from pathlib import Path

from codec.errors import TrainingError
from training.prepare.task import Box, Span, plain, seconds

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height")


def read_metadata(path: Path, people: bool) -> tuple[dict[str, list[Span]], list[str]]:
    """Read such a table.

    Args:
        path: the CSV file.
        people: whether the table names people; else a video's people are one identity.

    Returns:
        The spans by YouTube id, and one line for each row that cannot be used.

    Raises:
        TrainingError: the file cannot be read or has other columns.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise TrainingError(f"{path} has no column {missing[0]}; needed are {', '.join(COLUMNS)}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    spans: dict[str, list[Span]] = {}
    faults = []
    for number, row in enumerate(rows, 2):
        try:
            video, span = _span(row, people)
        except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
            faults.append(f"{path.name}, line {number}: {error}")
            continue
        spans.setdefault(video, []).append(span)
    return spans, faults


def _span(row: dict[str, str], people: bool) -> tuple[str, Span]:
    video, _, rest = row["video_id"].partition("#")
    if not video or "/" in video:
        raise ValueError(f"{row['video_id']!r} is no video id")
    start = int(row["start"])
    when = seconds(start, int(row["end"]), float(row["fps"]))
    width, height = float(row["width"]), float(row["height"])
    left, top, right, bottom = (int(edge) for edge in row["bbox"].split("-"))
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"the box {row['bbox']} does not lie in a picture of {row['width']}x{row['height']}")
    person = (row.get("person_id") or rest.split("#")[0]) if people else video
    if not person:
        raise ValueError("names no person")
    box = Box(left / width, top / height, right / width, bottom / height)
    partition = "test" if row.get("partition") == "test" else "train"
    return video, Span(f"{start:06d}.{left:04d}.{top:04d}", when, box, plain(person), partition)
