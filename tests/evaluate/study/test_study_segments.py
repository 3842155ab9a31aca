from __future__ import annotations

import pytest

from training.evaluate.study.segments import parts


def test_a_long_clip_gives_start_middle_and_end() -> None:
    assert parts(1024, 30, 4) == {"start": range(120), "middle": range(452, 572), "end": range(904, 1024)}


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (30, {"start": range(10), "middle": range(10, 20), "end": range(20, 30)}),
        (29, {"middle": range(9, 19)}),
        (11, {"middle": range(10)}),
        (10, {"whole": range(10)}),
        (3, {"whole": range(3)}),
    ],
)
def test_shorter_clips(num_frames: int, expected: dict[str, range]) -> None:
    assert parts(num_frames, 25, 0.4) == expected
