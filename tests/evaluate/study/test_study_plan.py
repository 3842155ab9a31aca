from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.errors import TrainingError
from training.evaluate.study.plan import Pair, Question, plan

PAIRS = [Pair(f"clip {number}", ("warpcall", "frozen"), (f"a{number}", f"b{number}"), "o") for number in range(40)]
CHECKS = [Pair("check", ("original", "spoilt"), ("o", "s"), "o", is_check=True)]


def planned(num: int, answers: int, questions: int, check_every: int = 0, seed: int = 0) -> list[list[Question]]:
    return plan(PAIRS[:num], CHECKS, answers=answers, questions=questions, check_every=check_every, seed=seed)


@given(num=st.integers(1, 40), answers=st.integers(1, 5), questions=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_each_pair_is_asked_as_often_as_wanted_and_nobody_twice(num: int, answers: int, questions: int) -> None:
    people = planned(num, answers, questions)
    asked = Counter(question.pair.clip for hand in people for question in hand)
    assert asked == {pair.clip: answers for pair in PAIRS[:num]}
    for hand in people:
        assert 1 <= len(hand) <= questions
        assert len({question.pair.clip for question in hand}) == len(hand)


def test_sides_and_order_are_random_and_repeatable() -> None:
    people = planned(40, 3, 40)
    swapped = [question.is_swapped for hand in people for question in hand]
    assert 40 < sum(swapped) < 80
    orders = [[question.pair.clip for question in hand] for hand in people]
    assert orders[0] != orders[1]
    assert people == planned(40, 3, 40)
    assert people != planned(40, 3, 40, seed=1)


def test_sides_of_a_question() -> None:
    assert Question(PAIRS[0], is_swapped=False).sides == ("warpcall", "frozen")
    assert Question(PAIRS[0], is_swapped=True).sides == ("frozen", "warpcall")


def test_checks_come_after_so_many_questions() -> None:
    (hand,) = planned(5, 1, 40, check_every=2)
    assert [question.pair.is_check for question in hand] == [False, False, True, False, False, True, False]


def test_nothing_to_ask() -> None:
    with pytest.raises(TrainingError, match="no pair of videos"):
        planned(0, 3, 40)
