from __future__ import annotations

import sys

import pytest

from codec.errors import TrainingError
from training.evaluate.study.answers import Answer, Answers, Asked, Side
from training.evaluate.study.preference import attentive, interval, preferences


@pytest.mark.parametrize(
    ("num_ours", "num", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_that_newcombe_printed(num_ours: int, num: int, low: float, high: float) -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998, table I."""
    assert interval(num_ours, num, 0.95)[:2] == pytest.approx((low, high), abs=5e-5)


def test_the_test_is_exact() -> None:
    """Nine of ten: 2 (1 + 10) / 2**10."""
    assert interval(9, 10, 0.95)[2] == pytest.approx(22 / 1024)
    assert interval(5, 10, 0.95)[2] == pytest.approx(1)


def answer(clip: str, other: str, choice: Side | None, *, swapped: bool = False) -> Answer:
    sides = (other, "warpcall") if swapped else ("warpcall", other)
    return Answer(Asked(clip, *sides, is_check=False), choice, seconds=3.0)


def test_each_comparison_is_counted_for_itself() -> None:
    people = [
        Answers(1, (answer("a", "x264", "left"), answer("b", "x264", "right"), answer("a", "frozen", None))),
        Answers(2, (answer("a", "x264", "right", swapped=True), answer("b", "x264", "left"))),
        Answers(3, (answer("a", "x264", "right"),)),
    ]
    frozen, x264 = preferences(people, 0.95)
    assert (frozen.other, frozen.num_answers, frozen.num_none, frozen.share) == ("frozen", 0, 1, None)
    assert (x264.num_ours, x264.num_answers, x264.share) == (3, 5, 0.6)
    assert (x264.num_clips, x264.num_clips_ours, x264.num_clips_tied) == (2, 1, 1)
    assert x264.median_s == 3.0
    assert x264.low is not None
    assert x264.high is not None
    assert x264.low < 0.6 < x264.high


def test_people_who_fail_the_checks_are_left_out() -> None:
    check = Asked("a", "original", "spoilt", is_check=True)
    awake = Answers(1, (Answer(check, "left", 1.0), Answer(check, "left", 1.0), Answer(check, "right", 1.0)))
    asleep = Answers(2, (Answer(check, "right", 1.0), Answer(check, None, 1.0)))
    unasked = Answers(3, ())
    assert attentive([awake, asleep, unasked], 0.6) == ([awake, unasked], [asleep])
    assert preferences([awake], 0.95) == []


def test_no_scipy_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(TrainingError, match=r"pip install 'warpcall\[evaluate\]'"):
        interval(1, 2, 0.95)
