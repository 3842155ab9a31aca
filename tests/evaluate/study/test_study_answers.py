from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codec.errors import TrainingError
from training.evaluate.study.answers import (
    MAX_ANSWERS_BYTES,
    Answers,
    Asked,
    Study,
    find_answers,
    load_study,
    read_answers,
)

HAND = (
    Asked("a start", "warpcall", "frozen", is_check=False),
    Asked("b whole", "frozen", "warpcall", is_check=False),
    Asked("a start", "spoilt", "original", is_check=True),
)
STUDY = Study("0123456789ab", (HAND, HAND[:2]))


def file_of(**changes: Any) -> dict[str, Any]:
    answers = [
        {"question": number, "choice": choice, "seconds": 2} for number, choice in enumerate(("left", None, "right"))
    ]
    return {"format": "warpcall answers 1", "study": STUDY.name, "person": 1, "answers": answers, **changes}


def answer(**changes: Any) -> dict[str, Any]:
    return {"answers": [{"question": 0, "choice": "left", "seconds": 2, **changes}]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write(value: Any) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return path

    return write


def test_answers_say_whose_video_was_chosen(write: Callable[[Any], Path]) -> None:
    (one,), refused = read_answers(STUDY, [write(file_of())])
    assert refused == {}
    assert [answer.chosen for answer in one.answers] == ["warpcall", None, "original"]
    assert one.checks_right == 1.0


def test_checks_answered_wrong_or_not(write: Callable[[Any], Path]) -> None:
    def share(*choices: Any) -> float:
        values = file_of()["answers"]
        for value, choice in zip(values, choices, strict=True):
            value["choice"] = choice
        ((one,), _) = read_answers(STUDY, [write(file_of(answers=values))])
        return one.checks_right

    assert share("left", "left", "left") == 0
    assert share("left", "left", None) == 0
    assert Answers(2, ()).checks_right == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b" " * (MAX_ANSWERS_BYTES + 1), "has more than 1000000 bytes"),
        ([], "holds no answers"),
        (file_of(format="warpcall answers 2"), "holds no answers"),
        (file_of(study="ffffffffffff"), "belongs to another study"),
        (file_of(person=0), "comes from no person of the study, whose numbers are 1 to 2"),
        (file_of(person=3), "comes from no person"),
        (file_of(person="1"), "comes from no person"),
        (file_of(person=True), "comes from no person"),
        (file_of(answers={}), "has no list of at most 3 answers"),
        (file_of(person=2), "has no list of at most 2 answers"),
        (file_of(answers=["left"]), "answer 1 is not to question 1"),
        (file_of(**answer(question=1)), "answer 1 is not to question 1"),
        (file_of(**answer(question=False)), "answer 1 is not to question 1"),
        (file_of(**answer(choice="both")), "answer 1 is neither left nor right"),
        (file_of(**answer(choice=["left"])), "answer 1 is neither left nor right"),
        (file_of(**answer(seconds=-1)), "answer 1 took no time that there is"),
        (file_of(**answer(seconds=10**400)), "answer 1 took no time that there is"),
        (file_of(**answer(seconds="2")), "answer 1 took no time that there is"),
        (json.dumps(file_of()).replace('"seconds": 2', '"seconds": NaN').encode(), "answer 1 took no time"),
    ],
)
def test_a_file_that_does_not_fit_is_left_out_whole(write: Callable[[Any], Path], value: Any, reason: str) -> None:
    bad, good = write(value), write(file_of(person=2, answers=[]))
    people, refused = read_answers(STUDY, [bad, good])
    assert [one.person for one in people] == [2]
    assert list(refused) == [str(bad)]
    assert refused[str(bad)].startswith(reason)


def test_every_truncation_is_refused(write: Callable[[Any], Path], tmp_path: Path) -> None:
    data = json.dumps(file_of()).encode()
    path = write(data)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert read_answers(STUDY, [path])[0] == []


def test_a_person_counts_once(write: Callable[[Any], Path]) -> None:
    first, second = write(file_of()), write(file_of())
    people, refused = read_answers(STUDY, [first, second])
    assert len(people) == 1
    assert refused == {str(second): "person 1 has answered in a file before it"}


def test_files_and_folders(tmp_path: Path, write: Callable[[Any], Path]) -> None:
    path = write({})
    assert find_answers([tmp_path, tmp_path / "other.json"]) == [path, tmp_path / "other.json"]
    with pytest.raises(TrainingError, match="holds no file of answers"):
        find_answers([])
    people, refused = read_answers(STUDY, [tmp_path / "other.json"])
    assert (people, refused) == ([], {str(tmp_path / "other.json"): "cannot be read: No such file or directory"})


@pytest.mark.parametrize("value", [[], {}, {"format": "warpcall study 1", "people": 5}, {"format": "other"}])
def test_other_keys_are_refused(write: Callable[[Any], Path], value: Any) -> None:
    with pytest.raises(TrainingError, match="is no key of a study"):
        load_study(write(value))
