from __future__ import annotations

from typing import Any

import pytest

from training.evaluate.measure import SCORE_NAMES
from training.evaluate.report import grouped, means, table


def row(psnr_db: float, *, moving: bool = False, akd: float | None = 2.0, lpips: float = 0.1) -> dict[str, Any]:
    figures: dict[str, Any] = {"bits_per_frame": 80.0}
    for name in SCORE_NAMES:
        figures[name] = figures[f"frozen_{name}"] = 0.1
    figures |= {"psnr_db": psnr_db, "akd": akd, "lpips_alex": lpips}
    return {"moving": moving, "1": figures}


def test_every_clip_has_one_vote() -> None:
    mean = means([row(20), row(30)], (1,))["1"]
    assert (mean["num_clips"], mean["psnr_db"], mean["frozen_l1"]) == (2, 25.0, pytest.approx(0.1))


def test_clips_without_a_figure_are_left_out_of_its_mean() -> None:
    assert means([row(20, akd=None), row(20, akd=4.0)], (1,))["1"]["akd"] == 4.0
    assert means([row(20, akd=None)], (1,))["1"]["akd"] is None


def test_counts_clips_that_look_worse_than_frozen() -> None:
    assert means([row(20, lpips=0.109), row(20, lpips=0.111)], (1,))["1"]["num_lpips_worse"] == 1


def test_no_clip_has_no_mean() -> None:
    assert means([], (1, 2)) == {}


def test_groups_by_pattern() -> None:
    rows = {"news-1.mp4": row(20), "news-2.mp4": row(22, moving=True), "talk.mp4": row(30)}
    groups = grouped(rows, {"news": "news-*"}, (1,))
    assert groups["news"]["1"]["psnr_db"] == 21
    assert groups["news_moving"]["1"]["psnr_db"] == 22
    assert groups["rest"]["1"]["psnr_db"] == 30
    assert groups["rest_moving"] == {}


def test_table_has_a_row_for_each_mean() -> None:
    overall = means([row(20, akd=None)], (1,))
    drawn = table({"overall": overall, "moving": {}, "still": overall, "groups": {"news": overall}})
    assert drawn.row_count == 3
