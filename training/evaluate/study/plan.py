"""Study, who is asked what: pairs in random order and on random sides, each pair by several people.

    pairs -> plan -> questions of each person

Pairs are shuffled once and dealt round and round, so that each is asked as often as wanted and nobody is asked it
twice. All order comes from one seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from codec.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Pair:
    """Two videos of one part of a clip.

    Attributes:
        clip: name of the clip and of the part.
        methods: whose they are; ours first. A check has none but the names ``original`` and ``spoilt``.
        videos: their files.
        original: file of the original.
        is_check: whether the answer is plain: the first.
    """

    clip: str
    methods: tuple[str, str]
    videos: tuple[str, str]
    original: str
    is_check: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A pair as one person sees it.

    Attributes:
        pair: what is compared.
        is_swapped: whether the pair's first video is on the right.
    """

    pair: Pair
    is_swapped: bool

    @property
    def sides(self) -> tuple[str, str]:
        """Whose video is on the left, and whose on the right."""
        first, second = self.pair.methods
        return (second, first) if self.is_swapped else (first, second)


def plan(
    pairs: Sequence[Pair], checks: Sequence[Pair], *, answers: int, questions: int, check_every: int, seed: int
) -> list[list[Question]]:
    """Return the questions of each person.

    Args:
        pairs: what is to be known.
        checks: pairs whose answer is plain.
        answers: how often each pair is asked, each time of another person.
        questions: pairs for each person at most.
        check_every: a check follows so many questions; 0 asks none.
        seed: of all order and sides.

    Raises:
        TrainingError: there is no pair.
    """
    if not pairs:
        raise TrainingError("there is no pair of videos to ask about")
    chance = random.Random(seed)
    dealt = chance.sample(list(pairs), len(pairs)) * answers
    # Nobody gets more than all pairs once: a longer hand would come round to the same pair.
    num_people = max(answers, math.ceil(len(dealt) / min(questions, len(pairs))))
    cuts = [len(dealt) * person // num_people for person in range(num_people + 1)]
    return [
        _hand(chance, dealt[start:stop], checks if check_every else (), check_every) for start, stop in pairwise(cuts)
    ]


def _hand(chance: random.Random, pairs: list[Pair], checks: Sequence[Pair], check_every: int) -> list[Question]:
    order: list[Pair] = []
    for number, pair in enumerate(chance.sample(pairs, len(pairs)), start=1):
        order.append(pair)
        if checks and number % check_every == 0:
            order.append(chance.choice(checks))
    return [Question(pair, is_swapped=chance.random() < 0.5) for pair in order]
