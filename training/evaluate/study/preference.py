"""Study, the result: who is preferred, how often, and how sure that is.

    Answers -> preferences -> Preference of each comparison

A preference is the share of answers for ours, with Wilson's interval and the exact test of no preference (scipy).
Answers of one person and of one clip are not quite independent, as the intervals assume.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from codec.errors import TrainingError
from training.evaluate.study.answers import Answer, Answers
from training.evaluate.study.config import OURS


@dataclass(frozen=True, slots=True)
class Preference:
    """What people say of ours and another.

    Attributes:
        other: with whom ours is compared.
        num_answers: answers with a choice.
        num_ours: of these, for ours.
        share: of answers for ours.
        low: lower end of Wilson's interval of the share.
        high: its upper end.
        p_value: of the exact two-sided binomial test that nobody is preferred.
        num_none: questions without a choice: time ran out, or the videos did not play.
        num_clips: clips and parts with a choice.
        num_clips_ours: of these, won by ours.
        num_clips_tied: of these, with as many answers for either.
        median_s: median time of an answer with a choice, seconds.
    """

    other: str
    num_answers: int
    num_ours: int
    share: float | None
    low: float | None
    high: float | None
    p_value: float | None
    num_none: int
    num_clips: int
    num_clips_ours: int
    num_clips_tied: int
    median_s: float | None


def attentive(people: Sequence[Answers], share: float) -> tuple[list[Answers], list[Answers]]:
    """Return the people who answered at least that share of the checks right, and the others."""
    kept = [one for one in people if one.checks_right >= share]
    return kept, [one for one in people if one.checks_right < share]


def preferences(people: Sequence[Answers], confidence: float) -> list[Preference]:
    """Return the preference of each comparison, in the order of names.

    Raises:
        TrainingError: scipy is not installed.
    """
    compared: dict[str, list[Answer]] = {}
    for one in people:
        for answer in one.answers:
            if not answer.asked.is_check:
                other = answer.asked.right if answer.asked.left == OURS else answer.asked.left
                compared.setdefault(other, []).append(answer)
    return [_preference(other, answers, confidence) for other, answers in sorted(compared.items())]


def _preference(other: str, answers: Sequence[Answer], confidence: float) -> Preference:
    chosen = [answer for answer in answers if answer.chosen is not None]
    num_ours = sum(answer.chosen == OURS for answer in chosen)
    low, high, p_value = interval(num_ours, len(chosen), confidence) if chosen else (None, None, None)
    votes: dict[str, int] = {}
    for answer in chosen:
        votes[answer.asked.clip] = votes.get(answer.asked.clip, 0) + (1 if answer.chosen == OURS else -1)
    return Preference(
        other=other,
        num_answers=len(chosen),
        num_ours=num_ours,
        share=num_ours / len(chosen) if chosen else None,
        low=low,
        high=high,
        p_value=p_value,
        num_none=len(answers) - len(chosen),
        num_clips=len(votes),
        num_clips_ours=sum(vote > 0 for vote in votes.values()),
        num_clips_tied=sum(vote == 0 for vote in votes.values()),
        median_s=median(answer.seconds for answer in chosen) if chosen else None,
    )


def interval(num_ours: int, num: int, confidence: float) -> tuple[float, float, float]:
    """Return Wilson's interval of a share, and the exact two-sided p-value of one half.

    Raises:
        TrainingError: scipy is not installed.
    """
    try:
        stats: Any = importlib.import_module("scipy.stats")
    except ImportError as error:
        raise TrainingError("intervals need scipy: pip install 'warpcall[evaluate]'") from error
    test = stats.binomtest(num_ours, num, 0.5)
    found = test.proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high), float(test.pvalue)
