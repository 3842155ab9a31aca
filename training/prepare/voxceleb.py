"""Data preparation: the annotations of VoxCeleb2's authors.

    PERSON/VIDEO/UTTERANCE.txt -> Span        five lines of what it is, then FRAME X Y W H of the face, line by line

Frames are counted at 25 a second; the box is in shares of the picture. VoxCeleb1's are in pixels of an unnamed picture
and cannot be used.
"""

from __future__ import annotations

from pathlib import Path

from codec.errors import TrainingError
from training.prepare.task import Box, Span, plain, seconds

FPS = 25.0
AROUND_FACE = 0.4
"""The boxes hold the face alone; the square to be cut is larger by about this share on either side."""


def read_annotations(folder: Path, partition: str) -> tuple[dict[str, list[Span]], list[str]]:
    """Read a folder of annotations.

    Args:
        folder: searched for PERSON/VIDEO/UTTERANCE.txt.
        partition: train or test.

    Returns:
        The spans by YouTube id, and one line for each file that cannot be used.

    Raises:
        TrainingError: there is no such folder, or no annotation in it.
    """
    paths = sorted(folder.glob("**/*.txt"))
    if not paths:
        raise TrainingError(f"{folder} holds no annotations (PERSON/VIDEO/UTTERANCE.txt)")
    spans: dict[str, list[Span]] = {}
    faults = []
    for path in paths:
        try:
            span = _span(path, partition)
        except (OSError, ValueError) as error:
            faults.append(f"{path.relative_to(folder)}: {error}")
            continue
        spans.setdefault(path.parent.name, []).append(span)
    return spans, faults


def _span(path: Path, partition: str) -> Span:
    rows = [line.split() for line in path.read_text().splitlines()]
    tracked = [row for row in rows if len(row) == 5 and row[0].isdigit()]
    if not tracked:
        raise ValueError("has no line FRAME X Y W H")
    frames = [int(row[0]) for row in tracked]
    boxes = [tuple(float(number) for number in row[1:]) for row in tracked]
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    if max(right, bottom) > 1.5:
        raise ValueError("its boxes are in pixels, as VoxCeleb1's; only VoxCeleb2's can be used")
    more, less = (right - left) * AROUND_FACE, (bottom - top) * AROUND_FACE
    box = Box(max(left - more, 0.0), max(top - less, 0.0), min(right + more, 1.0), min(bottom + less, 1.0))
    if not (box.left < box.right and box.top < box.bottom):
        raise ValueError("its boxes do not lie in the picture")
    when = seconds(min(frames), max(frames) + 1, FPS)
    person = path.parent.parent.name
    return Span(f"{plain(person)}.{plain(path.stem)}", when, box, plain(person), partition)
