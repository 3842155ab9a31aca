"""Data preparation: a folder of one's own videos.

folder/**/*.mp4 -> Task, Task, ...            long videos in stretches, so that many workers share one
"""

from __future__ import annotations

import math
from pathlib import Path

import av
from av.error import FFmpegError

from codec.errors import TrainingError
from training.prepare.config import IdentitySource
from training.prepare.task import Seconds, Span, Task, keys_of, plain

SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".mpg", ".mpeg", ".ts", ".flv", ".3gp"))
STRETCH_S = 300
"""A video of more than two stretches is worked on in stretches of this length."""


def folder_tasks(folder: Path, identity: IdentitySource, out: Path) -> tuple[list[Task], list[str]]:
    """Plan the videos of a folder and its subfolders.

    Args:
        folder: searched, but for ``out``.
        identity: where the people's names are.
        out: folder of the prepared clips.

    Returns:
        The tasks, and one line for each file that is no readable video.

    Raises:
        TrainingError: there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder")
    if folder.resolve() == out.resolve():
        raise TrainingError(f"{out} holds the videos; name another folder for the clips")
    videos = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    paths = sorted(path for path in videos if out.resolve() not in path.resolve().parents)
    if not paths:
        raise TrainingError(f"{folder} holds no video ({' '.join(sorted(SUFFIXES))})")
    sources = {path.relative_to(folder).as_posix(): path for path in paths}
    keys = keys_of({source: source.removesuffix(path.suffix) for source, path in sources.items()})
    tasks, faults = [], []
    for source, path in sources.items():
        try:
            stretches = _stretches(path)
        except TrainingError as error:
            faults.append(f"{source}: {error}")
            continue
        who = named_identity(Path(source), identity)
        for when in stretches:
            name = f"{when.start_s:05.0f}"
            key = keys[source] if len(stretches) == 1 else f"{keys[source]}.{name}"
            tasks.append(Task(key, source, path, (Span(name, when, identity=who),)))
    return tasks, faults


def named_identity(source: Path, identity: IdentitySource) -> str | None:
    """Return who a video shows by its name; None where that is left to the faces.

    Args:
        source: the file, relative to the folder.
        identity: where the name is.
    """
    if identity == "folder":
        return plain(source.parts[0] if len(source.parts) > 1 else source.stem)
    if identity == "prefix":
        return plain(source.stem.split("-")[0])
    if identity == "file":
        return plain(source.with_suffix("").as_posix())
    return None


def _stretches(path: Path) -> list[Seconds]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise TrainingError("has no pictures")
            duration_s = (container.duration or 0) / av.time_base
    except FFmpegError as error:
        raise TrainingError(f"cannot be read ({error.strerror})") from error
    if duration_s <= 2 * STRETCH_S:
        return [Seconds(0.0, math.inf)]
    starts = range(0, int(duration_s) - STRETCH_S + 1, STRETCH_S)
    return [Seconds(start, start + STRETCH_S if start != starts[-1] else math.inf) for start in starts]
