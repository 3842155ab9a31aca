"""Study, answers: files that people saved, checked against the key.

    files -> read_answers -> Answers of each person;  a file that does not fit gives its reason in one line

Files come from outside: size, form, study, person and every answer are checked, and a file with one fault is left out
whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from codec.errors import TrainingError
from training.evaluate.study.page import FORMAT as STUDY_FORMAT

ANSWERS_FORMAT = "warpcall answers 1"
MAX_ANSWERS_BYTES = 1_000_000
MAX_STUDY_BYTES = 100_000_000
MAX_SECONDS = 86_400

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, as the key has it.

    Attributes:
        clip: name of the clip and of the part.
        left: whose video was on the left.
        right: whose video was on the right.
        is_check: whether the answer is plain: ``original``.
    """

    clip: str
    left: str
    right: str
    is_check: bool


@dataclass(frozen=True, slots=True)
class Study:
    """The key.

    Attributes:
        name: the study's.
        people: questions of each person.
    """

    name: str
    people: tuple[tuple[Asked, ...], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        asked: the question.
        choice: the side, or None when time ran out or the videos did not play.
        seconds: it took.
    """

    asked: Asked
    choice: Side | None
    seconds: float

    @property
    def chosen(self) -> str | None:
        """Whose video was chosen."""
        if self.choice is None:
            return None
        return self.asked.left if self.choice == "left" else self.asked.right


@dataclass(frozen=True, slots=True)
class Answers:
    """What one person answered.

    Attributes:
        person: number from 1 on.
        answers: in the order of the questions.
    """

    person: int
    answers: tuple[Answer, ...]

    @property
    def checks_right(self) -> float:
        """Share of the checks that were answered right; 1 where there was none."""
        checks = [answer.chosen == "original" for answer in self.answers if answer.asked.is_check]
        return sum(checks) / len(checks) if checks else 1.0


def load_study(path: Path) -> Study:
    """Read a key.

    Raises:
        TrainingError: it cannot be read, or is no key.
    """
    value = _json(path, MAX_STUDY_BYTES)
    try:
        if value["format"] != STUDY_FORMAT:
            raise ValueError
        people = tuple(
            tuple(
                Asked(str(one["clip"]), str(one["left"]), str(one["right"]), is_check=one["check"] is True)
                for one in hand
            )
            for hand in value["people"]
        )
        return Study(str(value["id"]), people)
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError("is no key of a study (study.json)") from error


def find_answers(paths: Sequence[Path]) -> list[Path]:
    """Return files, and the JSON files of folders, by name.

    Raises:
        TrainingError: there is none.
    """
    found = [path for given in paths for path in (sorted(given.glob("*.json")) if given.is_dir() else (given,))]
    if not found:
        raise TrainingError(f"{paths[0] if paths else 'nothing'} holds no file of answers")
    return found


def read_answers(study: Study, paths: Iterable[Path]) -> tuple[list[Answers], dict[str, str]]:
    """Return the answers of each person, and the reasons of the files that were left out."""
    people: dict[int, Answers] = {}
    refused: dict[str, str] = {}
    for path in paths:
        try:
            answers = _answers(study, _json(path, MAX_ANSWERS_BYTES))
            if answers.person in people:
                raise TrainingError(f"person {answers.person} has answered in a file before it")
        except TrainingError as error:
            refused[str(path)] = str(error)
        else:
            people[answers.person] = answers
    return [people[person] for person in sorted(people)], refused


def _json(path: Path, max_bytes: int) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise TrainingError(f"cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise TrainingError(f"has more than {max_bytes} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TrainingError("is no JSON") from error


def _answers(study: Study, value: Any) -> Answers:
    if not isinstance(value, dict) or value.get("format") != ANSWERS_FORMAT:
        raise TrainingError("holds no answers")
    if value.get("study") != study.name:
        raise TrainingError("belongs to another study")
    person, given = value.get("person"), value.get("answers")
    if not _is_whole(person) or not 1 <= person <= len(study.people):
        raise TrainingError(f"comes from no person of the study, whose numbers are 1 to {len(study.people)}")
    hand = study.people[person - 1]
    if not isinstance(given, list) or len(given) > len(hand):
        raise TrainingError(f"has no list of at most {len(hand)} answers")
    answers = tuple(_answer(hand, number, one) for number, one in enumerate(given))
    return Answers(person, answers)


def _answer(hand: Sequence[Asked], number: int, value: Any) -> Answer:
    if not isinstance(value, dict) or not _is_whole(value.get("question")) or value["question"] != number:
        raise TrainingError(f"answer {number + 1} is not to question {number + 1}")
    choice, seconds = value.get("choice"), value.get("seconds")
    if choice is not None and choice not in SIDES:
        raise TrainingError(f"answer {number + 1} is neither left nor right")
    if not _is_time(seconds):
        raise TrainingError(f"answer {number + 1} took no time that there is")
    return Answer(hand[number], choice, float(seconds))


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_SECONDS
