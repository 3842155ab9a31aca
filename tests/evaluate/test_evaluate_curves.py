from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from codec.errors import OutputError
from training.evaluate.curves import coders, curve, headline, mean_points, quality_at, rate_for
from training.evaluate.plot import draw
from training.evaluate.rate_distortion import FROZEN, OURS, wire_bytes


def point(coder: str, wire: float, lpips: float, **more: Any) -> dict[str, Any]:
    rates = {"payload_bits_per_s": wire / 2, "wire_bits_per_s": wire}
    return {"coder": coder, "setting": "realtime", "size": 64, **rates, "lpips_alex": lpips, "psnr_db": 30.0, **more}


PEER = [
    point("x264", 10_000, 0.4, target_bits_per_s=10),
    point("x264", 20_000, 0.5, target_bits_per_s=20),
    point("x264", 40_000, 0.2, target_bits_per_s=40),
    point("x264", 80_000, 0.1, target_bits_per_s=80),
]


def test_wire_bytes_cut_packets() -> None:
    assert wire_bytes([10, 1200]) == 1210 + 2 * 68
    assert wire_bytes([1201]) == 1201 + 2 * 68
    assert wire_bytes([]) == 0


def test_a_curve_is_the_best_at_or_under_each_rate() -> None:
    assert curve(reversed(PEER), "wire_bits_per_s", "lpips_alex") == [(10_000, 0.4), (40_000, 0.2), (80_000, 0.1)]
    rising = [
        point("x264", 1000, 0, psnr_db=20.0),
        point("x264", 2000, 0, psnr_db=19.0),
        point("x264", 3000, 0, psnr_db=25.0),
    ]
    assert curve(rising, "payload_bits_per_s", "psnr_db") == [(500, 20.0), (1500, 25.0)]


def test_quality_between_points_is_straight_over_the_logarithm() -> None:
    best = curve(PEER, "wire_bits_per_s", "lpips_alex")
    assert quality_at(best, 20_000) == pytest.approx(0.3)
    assert quality_at(best, 40_000) == pytest.approx(0.2)
    assert quality_at(best, 9_000) is None
    assert quality_at(best, 900_000) == 0.1
    assert quality_at([], 1) is None


def test_rate_for_a_quality_undoes_quality_at() -> None:
    best = curve(PEER, "wire_bits_per_s", "lpips_alex")
    assert rate_for(best, 0.3, "lpips_alex") == pytest.approx(20_000)
    assert rate_for(best, 0.15, "lpips_alex") == pytest.approx(40_000 * math.sqrt(2))
    assert rate_for(best, 0.9, "lpips_alex") == 10_000
    assert rate_for(best, 0.05, "lpips_alex") is None
    assert rate_for([(10, 20.0), (1000, 40.0)], 30.0, "psnr_db") == pytest.approx(100)


def test_every_clip_has_one_vote_and_failures_none() -> None:
    failed = {"coder": "x264", "setting": "realtime", "size": 64, "target_bits_per_s": 10, "reason": "failed"}
    means = mean_points([[PEER[0]], [failed], [point("x264", 30_000, 0.2, target_bits_per_s=10)]])
    assert len(means) == 1
    assert (means[0]["num_clips"], means[0]["wire_bits_per_s"]) == (2, 20_000)
    assert means[0]["lpips_alex"] == pytest.approx(0.3)


def test_points_of_a_coder_stand_together() -> None:
    ours = [point(OURS, 1, 0.1, references=1), point(FROZEN, 0, 0.1, references=1), point(OURS, 1, 0.1, references=2)]
    assert [mean["coder"] for mean in mean_points([ours])] == [OURS, OURS, FROZEN]
    assert coders([*ours, *PEER]) == [("x264", "realtime")]


def test_headline_names_the_better_one_and_where_it_changes() -> None:
    rows = headline([point(OURS, 20_000, 0.25, references=2), *PEER])
    row = next(row for row in rows if row["metric"] == "lpips_alex")
    assert row["peer_at_our_rate"] == pytest.approx(0.3)
    assert row["peer_passes_at_bits_per_s"] == pytest.approx(10_000 * 4**0.75)
    assert {row["metric"] for row in rows} == {"lpips_alex", "psnr_db"}


def test_draws_png_and_svg(tmp_path: Path) -> None:
    frozen = point(FROZEN, 0, 0.3, references=1)
    offline = [{**other, "setting": "offline"} for other in PEER]
    draw(
        [point(OURS, 20_000, 0.25, references=1), frozen, *PEER, *offline],
        "1 clip",
        [tmp_path / "rd.png", tmp_path / "rd.svg"],
    )
    assert (tmp_path / "rd.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "rd.svg").read_text()


def test_a_figure_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        draw(PEER, "1 clip", [tmp_path / "absent" / "rd.png"])
