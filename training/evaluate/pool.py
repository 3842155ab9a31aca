"""Evaluation, many clips: one after the other, or several processes at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import torch

from codec.errors import TrainingError

Row = dict[str, Any]
OnFrames = Callable[[int], None]


class Named(Protocol):
    """What is measured: a clip's path, or a part of the work on a clip."""

    @property
    def name(self) -> str:
        """Its name on the screen."""


Item = TypeVar("Item", bound=Named)
Work = Callable[[Item, OnFrames], Row]


def each(work: Work[Item], items: Sequence[Item], jobs: int, on_frames: OnFrames) -> Iterator[tuple[Item, Row | str]]:
    """Give each clip's row, or the reason why it has none, as they come.

    Args:
        work: measures one clip and says how many more frames are done; raises ``TrainingError`` with the reason when
            the clip cannot be measured. With several jobs it is pickled.
        items: the clips, or parts of the work on them.
        jobs: processes; 1 works in this one.
        on_frames: told of frames that are done, within this process only.

    Raises:
        TrainingError: a worker process died.
    """
    if jobs == 1:
        for item in items:
            yield item, _row_or_reason(work, item, on_frames)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _share_cores, (jobs,)) as pool:
        futures = {pool.submit(_row_or_reason, work, item, _ignore): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise TrainingError("a worker process died, perhaps for want of memory; try fewer --jobs") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _row_or_reason(work: Work[Item], item: Item, on_frames: OnFrames) -> Row | str:
    try:
        return work(item, on_frames)
    except TrainingError as error:
        return str(error)


def _share_cores(jobs: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _ignore(frames: int) -> None:
    """Frames of another process are not counted; its clips are."""
