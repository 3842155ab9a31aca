from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.errors import TrainingError
from training.evaluate.cache import FeatureStore
from training.evaluate.metrics.fid import frechet_distance
from training.evaluate.report import grouped, means, tables
from training.evaluate.tally import SCORE_NAMES


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
    result = {"overall": overall, "moving": {}, "still": overall, "groups": {"news": overall}}
    assert [drawn.row_count for drawn in tables(result)] == [3, 3]


def test_a_second_table_has_what_was_asked_for() -> None:
    asked = row(20)
    for name in ("ssim", "lpips_vgg", "dists", "identity_similarity", "vmaf", "body_akd_05", "body_mkr_05"):
        asked["1"][name] = asked["1"][f"frozen_{name}"] = None
    result = {"overall": means([asked], (1,)), "moving": {}, "still": {}}
    assert len(tables(result)) == 1
    asked["1"]["dists"] = 0.25
    result = {"overall": means([asked], (1,)), "moving": {}, "still": {}}
    assert [column.header for column in tables(result)[1].columns] == ["clips", "refs", "DISTS", "bits"]
    assert list(tables(result)[1].columns[2].cells) == ["0.250 (-)"]


def test_fid_is_of_all_clips_together(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    sets = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    rows = [row(20), row(30), row(40)]
    for clip, part in zip(rows, (sets[:, :4], sets[:, 4:5], sets[:, 5:]), strict=True):
        clip["1"] |= {"fid_features": store.store(part), "frozen_fid_features": store.store(part[::-1])}
    mean = means(rows, (1,), store)["1"]
    assert mean["fid"] == pytest.approx(frechet_distance(sets[0], sets[1]))
    assert mean["frozen_fid"] == pytest.approx(mean["fid"])
    assert means(rows[1:2], (1,), store)["1"]["fid"] is None
    assert store.holds(rows)
    (tmp_path / rows[2]["1"]["fid_features"]).write_bytes(b"damaged")
    with pytest.raises(TrainingError, match="cannot be read"):
        means(rows, (1,), store)
    (tmp_path / rows[2]["1"]["fid_features"]).unlink()
    assert not store.holds(rows)
