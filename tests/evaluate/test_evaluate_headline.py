from __future__ import annotations

from typing import Any

import pytest

from training.evaluate.headline import bd_rates, comparisons, sentences
from training.evaluate.rate_distortion import FROZEN, OURS

Point = dict[str, Any]


def point(coder: str, wire: float, lpips: float, setting: str = "realtime", **more: Any) -> Point:
    rates = {"payload_bits_per_s": wire / 2, "wire_bits_per_s": wire}
    return {"coder": coder, "setting": setting, "size": 64, **rates, "lpips_alex": lpips, **more}


def ours(references: int, lpips: float) -> Point:
    spread: Point = {
        "wire_bits_per_s_over_10_s": 20_000 * (1 + references),
        "wire_bits_per_s_over_300_s": 20_000 + references,
    }
    return point(OURS, 20_000, lpips, references=references, **spread)


X264 = [point("x264", 10_000, 0.4), point("x264", 40_000, 0.2), point("x264", 80_000, 0.1)]
VP9 = [point("VP9", 30_000, 0.3, "offline"), point("VP9", 60_000, 0.15, "offline")]
FROZEN_POINT = point(FROZEN, 0, 0.2, references=2)


def test_compares_with_every_peer_under_every_count() -> None:
    rows = comparisons([ours(1, 0.35), ours(2, 0.25), FROZEN_POINT, *X264, *VP9])
    assert len(rows) == 3 * 2 * 2
    held = next(r for r in rows if (r["count"], r["references"], r["peer"]) == ("wire_bits_per_s", 2, "x264"))
    assert held["peer_at_our_rate"] == pytest.approx(0.3)
    assert held["peer_passes_at_bits_per_s"] == pytest.approx(10_000 * 4**0.75)
    assert held["our_bits_percent"] == pytest.approx(100 * (20_000 / (10_000 * 4**0.75) - 1))
    sent = next(r for r in rows if (r["count"], r["references"], r["peer"]) == ("wire_bits_per_s_over_10_s", 2, "x264"))
    assert sent["our_bits_per_s"] == 60_000
    assert sent["peer_at_our_rate"] < 0.2


def test_a_peer_that_cannot_go_so_low_or_never_comes_up() -> None:
    row = comparisons([ours(2, 0.05), *VP9])[0]
    assert row["peer_at_our_rate"] is None
    assert row["peer_passes_at_bits_per_s"] is None
    assert row["our_bits_percent"] is None
    assert row["peer_lowest_bits_per_s"] == 30_000


def test_bd_rates_count_the_references() -> None:
    rows = bd_rates([ours(1, 0.35), ours(2, 0.25), *X264])
    assert [row["count"] for row in rows] == ["wire_bits_per_s_over_10_s", "wire_bits_per_s_over_300_s"]
    assert rows[0]["bd_rate_percent"] > 0  # 40 and 60 kbit/s for what x264 makes of 14 and 28
    assert "reason" not in rows[0]


def test_bd_rates_say_why_there_is_none() -> None:
    assert bd_rates([ours(1, 0.25), ours(2, 0.3), *X264])[0]["reason"] == "more references make our picture no better"
    assert bd_rates([ours(1, 0.9), ours(2, 0.8), *X264])[0]["reason"] == "no quality that both reach"
    assert bd_rates([ours(1, 0.35), ours(2, 0.25), X264[0]])[0]["reason"] == "the peer has one point"


def test_the_sentence_names_winner_margin_and_crossing() -> None:
    points = [ours(1, 0.35), ours(2, 0.25), FROZEN_POINT, *X264, *VP9]
    (told,) = sentences(points, comparisons(points))
    assert "20.0 kbit/s with 2 reference(s) held beforehand, Warpcall has LPIPS-Alex 0.250" in told
    assert "in real-time settings: the best at that rate is x264 with 0.300: ours is 17% lower (better)" in told
    assert "the first to be as good as ours is x264, at 28.3 kbit/s" in told
    assert "in their best offline settings: VP9 cannot go so low; the lowest is VP9 with 30.0 kbit/s and 0.300" in told
    assert "The frozen picture, at zero bits, has 0.200: ours is 25% higher (worse)." in told


def test_the_sentence_of_a_picture_nobody_else_makes() -> None:
    points = [ours(1, 0.01), *X264]
    (told,) = sentences(points, comparisons(points))
    assert "none is as good as ours at any rate measured" in told
