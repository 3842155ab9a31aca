"""Evaluation ``rd``: one clip's row of the result: its points, and the video of all coders at our wire rate.

    path -> RateDistortion.row -> points;  points -> showcase -> OUT/media/CLIP.mp4, CLIP.png

Both are kept in the cache folder: what was measured or coded before is not again.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from codec.errors import OutputError, TrainingError
from training.evaluate.clips import file_sha256, read_clip
from training.evaluate.config import RateDistortionConfig
from training.evaluate.pool import OnFrames, Row
from training.evaluate.rate_distortion import ClipRates, Point, RateDistortion, open_run
from training.evaluate.showcase import description, tiles_of, write_rate_strip, write_video

MEDIA = "media"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the work on a clip: one coder.

    Attributes:
        path: the clip.
        coder: ours, with the frozen picture, or a peer.
    """

    path: Path
    coder: str

    @property
    def name(self) -> str:
        """Its name on the screen."""
        return f"{self.path.name}, {self.coder}"


def measure_part(config: RateDistortionConfig, part: Part, on_frames: OnFrames) -> Row:
    """Measure one coder on one clip and keep its points in the cache, so that processes can share the work on a clip.

    A clip that cannot be measured is passed over: ``measure_rates`` says why.

    Raises:
        OutputError: a result cannot be written.
    """
    with contextlib.suppress(TrainingError):
        open_run(config).row(part.path, on_frames, part.coder)
    return {}


def measure_rates(config: RateDistortionConfig, shown: frozenset[str], path: Path, on_frames: OnFrames) -> Row:
    """Return all points of one clip, and its ``showcase`` if it is to be shown.

    Args:
        config: settings of the run.
        shown: names of clips that the page shows.
        path: the clip.
        on_frames: told how many more frames are done.

    Raises:
        TrainingError: the clip cannot be measured; the message says why.
        OutputError: a result cannot be written.
    """
    run = open_run(config)
    row = run.row(path, on_frames)
    if path.name in shown:
        row["showcase"] = show(run, path, row["points"])
    return row


def show(run: RateDistortion, path: Path, points: list[Point]) -> dict[str, Any]:
    """Put a clip's video and strip into the result's folder, made or from memory; return what the page must know.

    Raises:
        TrainingError: a peer fails where it did not before.
        OutputError: a file cannot be written.
    """
    dependencies = {**run.ours_key(file_sha256(path)), "what": "rd showcase", "points": points}
    kept = run.results.path(dependencies)
    video, strip = kept.with_suffix(".mp4"), kept.with_suffix(".png")
    described: dict[str, Any] | None = run.results.load(dependencies)
    if described is None or not video.exists() or not strip.exists():
        rates = ClipRates(run, read_clip(path, run.model.config.image_size))
        tiles = tiles_of(rates, run.peers, points)
        columns = write_video(tiles, rates.clip.fps, video)
        write_rate_strip(rates.clip, rates.scored, tiles, strip)
        described = description(rates, tiles, columns, f"{MEDIA}/{quote(path.stem)}.mp4")
        run.results.store(dependencies, described)
    for file in (video, strip):
        copy(file, run.config.out / MEDIA / f"{path.stem}{file.suffix}")
    return described


def copy(source: Path, target: Path) -> None:
    """Copy a file, with its folder.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error
