from __future__ import annotations

import os
from pathlib import Path

import pytest

from codec.errors import TrainingError
from training.evaluate.pool import OnFrames, Row, each


def work(path: Path, on_frames: OnFrames) -> Row:
    if path.name == "bad":
        raise TrainingError("is bad")
    if path.name == "deadly":
        os._exit(9)
    on_frames(3)
    return {"name": path.name}


def test_rows_and_reasons_in_order() -> None:
    frames: list[int] = []
    rows = list(each(work, [Path("a"), Path("bad"), Path("b")], 1, frames.append))
    assert rows == [(Path("a"), {"name": "a"}), (Path("bad"), "is bad"), (Path("b"), {"name": "b"})]
    assert frames == [3, 3]


@pytest.mark.slow
def test_a_dying_worker_is_told_in_one_line() -> None:
    with pytest.raises(TrainingError, match="a worker process died"):
        list(each(work, [Path("deadly")], 2, print))
