from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec.errors import OutputError, TrainingError
from training.evaluate.curves import bd_rate_percent, coders, curve, mean_points, metrics_of, quality_at, rate_for
from training.evaluate.plot import draw_curves
from training.evaluate.rate_distortion import FROZEN, OURS, wire_bytes


def point(coder: str, wire: float, lpips: float, **more: Any) -> dict[str, Any]:
    rates = {"payload_bits_per_s": wire / 2, "wire_bits_per_s": wire}
    return {"coder": coder, "setting": "realtime", "size": 64, **rates, "lpips_alex": lpips, "psnr_db": 30.0, **more}


PEER = [
    point("x264", 10_000, 0.4, target=10),
    point("x264", 20_000, 0.5, target=20),
    point("x264", 40_000, 0.2, target=40),
    point("x264", 80_000, 0.1, target=80),
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
    means = mean_points([[PEER[0]], [failed], [point("x264", 30_000, 0.2, target=10)]])
    assert len(means) == 1
    assert (means[0]["num_clips"], means[0]["wire_bits_per_s"]) == (2, 20_000)
    assert means[0]["lpips_alex"] == pytest.approx(0.3)


def test_points_of_a_coder_stand_together() -> None:
    ours = [point(OURS, 1, 0.1, references=1), point(FROZEN, 0, 0.1, references=1), point(OURS, 1, 0.1, references=2)]
    assert [mean["coder"] for mean in mean_points([ours])] == [OURS, OURS, FROZEN]
    assert coders([*ours, *PEER]) == [("x264", "realtime")]


def power_law(coder: str, factor: float) -> list[dict[str, Any]]:
    """Quality that falls with the logarithm of the rate, at ``factor`` times the rate of the plain law."""
    return [point(coder, factor * rate, 0.5 - 0.1 * math.log2(rate / 10_000)) for rate in (10e3, 20e3, 40e3, 80e3)]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_bd_rate_of_shifted_curves_is_the_shift(factor: float) -> None:
    anchor = curve(power_law("x264", 1), "wire_bits_per_s", "lpips_alex")
    test = curve(power_law("VP9", factor), "wire_bits_per_s", "lpips_alex")
    assert bd_rate_percent(anchor, test, "lpips_alex") == pytest.approx(100 * (factor - 1))


def test_bd_rate_agrees_with_an_integral_of_our_own() -> None:
    """Dense points leave the interpolation nothing to decide: the mean difference of log rate over shared quality."""
    rates = np.geomspace(5_000, 200_000, 400)
    psnr_a, psnr_b = 20 + 4 * np.log(rates / 4000), 18 + 5 * np.log(rates / 4000) ** 0.9
    quality = np.linspace(max(psnr_a[0], psnr_b[0]), min(psnr_a[-1], psnr_b[-1]), 5000)
    log_a, log_b = np.interp(quality, psnr_a, np.log(rates)), np.interp(quality, psnr_b, np.log(rates))
    own = 100 * (math.exp(np.trapezoid(log_b - log_a, quality) / (quality[-1] - quality[0])) - 1)
    anchor, test = (list(zip(rates, psnr, strict=True)) for psnr in (psnr_a, psnr_b))
    assert bd_rate_percent(anchor, test, "psnr_db") == pytest.approx(own, abs=0.02)


def test_bd_rate_of_curves_that_share_no_quality() -> None:
    assert bd_rate_percent([(1, 20.0), (2, 22.0)], [(1, 23.0), (2, 24.0)], "psnr_db") is None
    assert bd_rate_percent([(1, 20.0), (2, 22.0)], [(1, 21.0)], "psnr_db") is None


def test_bd_rate_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(TrainingError, match="no BD-rate without bjontegaard"):
        bd_rate_percent([(1, 20.0), (2, 22.0)], [(1, 21.0), (2, 22.0)], "psnr_db")


def test_metrics_are_what_points_hold() -> None:
    held = {**PEER[0], "num_clips": 1, "command": "x", "new_metric": 1.0}
    assert metrics_of([held]) == ["lpips_alex", "psnr_db", "new_metric"]


def test_draws_png_and_svg(tmp_path: Path) -> None:
    frozen = point(FROZEN, 0, 0.3, references=1)
    offline = [{**other, "setting": "offline"} for other in PEER]
    ours = point(OURS, 20_000, 0.25, references=1, wire_bits_per_s_over_10_s=25_000, wire_bits_per_s_over_300_s=20_500)
    points = [{**drawn, "l1": 3.0, "of_tomorrow": 2.0} for drawn in (ours, frozen, *PEER, *offline)]
    assert draw_curves(points, "1 clip", tmp_path) == ["rd.svg", "rd-more.svg"]
    for name in ("rd", "rd-more"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "rd.svg").read_text()
    assert "<svg" in drawn
    assert drawn.count("<!-- x264 -->") == 1  # once in the legend
    assert "<!-- dashed: best offline settings -->" in drawn
    assert "<!-- of_tomorrow (lower is better) -->" in (tmp_path / "rd-more.svg").read_text()


def test_a_figure_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        draw_curves(PEER, "1 clip", tmp_path / "absent")
