"""Evaluation, many clips: one after the other, or several processes at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from codec.errors import TrainingError

Row = dict[str, Any]
OnFrames = Callable[[int], None]
Work = Callable[[Path, OnFrames], Row]


def each(work: Work, paths: list[Path], jobs: int, on_frames: OnFrames) -> Iterator[tuple[Path, Row | str]]:
    """Give each clip's row, or the reason why it has none, as they come.

    Args:
        work: measures one clip and says how many more frames are done; raises ``TrainingError`` with the reason when
            the clip cannot be measured. With several jobs it is pickled.
        paths: the clips.
        jobs: processes; 1 works in this one.
        on_frames: told of frames that are done, within this process only.

    Raises:
        TrainingError: a worker process died.
    """
    if jobs == 1:
        for path in paths:
            yield path, _row_or_reason(work, path, on_frames)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _share_cores, (jobs,)) as pool:
        futures = {pool.submit(_row_or_reason, work, path, _ignore): path for path in paths}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise TrainingError("a worker process died, perhaps for want of memory; try fewer --jobs") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _row_or_reason(work: Work, path: Path, on_frames: OnFrames) -> Row | str:
    try:
        return work(path, on_frames)
    except TrainingError as error:
        return str(error)


def _share_cores(jobs: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _ignore(frames: int) -> None:
    """Frames of another process are not counted; its clips are."""
