from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codec.errors import ConfigError
from training.evaluate.clips import Frames
from training.evaluate.study.__main__ import main
from training.evaluate.study.config import MakeConfig

MakeStudy = Callable[..., Path]
AnswerAll = Callable[..., dict[str, Any]]
WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


def key_of(folder: Path) -> dict[str, Any]:
    key: dict[str, Any] = json.loads((folder / "study.json").read_text())
    return key


def page_of(folder: Path) -> dict[str, Any]:
    html = (folder / "page" / "index.html").read_text()
    match = re.search(r'<script type="application/json" id="study">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    study: dict[str, Any] = json.loads(match[1])
    return study


def test_page_and_key_tell_of_the_same_questions(make_study: MakeStudy) -> None:
    folder = make_study()
    key, page = key_of(folder), page_of(folder)
    assert key["id"] == page["id"]
    assert key["command"].startswith("python -m training.evaluate.study make --clips ")
    assert [len(hand) for hand in key["people"]] == [len(hand) for hand in page["people"]]
    assert len(key["people"]) == 3
    kinds = {frozenset((one["left"], one["right"])) for hand in key["people"] for one in hand}
    assert kinds == {
        frozenset(pair) for pair in (("warpcall", "frozen"), ("warpcall", "negative"), ("original", "spoilt"))
    }
    for name, place in page["places"].items():
        assert place == f"videos/{name}"
        assert (folder / "page" / place).stat().st_size > 100
    for question, shown in zip(key["people"][0], page["people"][0], strict=True):
        if question["left"] == "original":
            assert shown["left"] == shown["original"] != shown["right"]


def test_the_page_does_not_tell_whose_video_is_whose(make_study: MakeStudy) -> None:
    html = (make_study("--embed") / "page" / "index.html").read_text()
    for word in ("negative", "frozen", "spoilt", "a.mp4", "http"):
        assert word not in html
    assert "data:video/webm;base64," in html


def test_embedded_videos_need_no_folder(make_study: MakeStudy) -> None:
    assert [path.name for path in (make_study("--embed") / "page").iterdir()] == ["index.html"]


def test_answers_are_read_back(
    make_study: MakeStudy, answer_all: AnswerAll, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two people who always prefer ours, one of whom sleeps through the checks, one without answers, and noise."""

    def ours(question: dict[str, Any]) -> str:
        return "left" if question["left"] in ("warpcall", "original") else "right"

    def asleep(question: dict[str, Any]) -> str:
        return "right" if ours(question) == "left" else "left"

    folder, answers = make_study(), tmp_path / "answers"
    answers.mkdir()
    key = key_of(folder)
    (answers / "1.json").write_text(json.dumps(answer_all(key, 1, ours)))
    (answers / "2.json").write_text(json.dumps(answer_all(key, 2, asleep)))
    (answers / "3.json").write_text(json.dumps(answer_all(key, 3, lambda _: None)))
    (answers / "4.json").write_text("noise [bold]")
    capsys.readouterr()
    out = tmp_path / "preference.json"
    assert main(["read", str(folder / "study.json"), str(answers), "--checks", "0.5", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert f"{answers / '4.json'} is no JSON" in printed.err
    assert "person 2 is left out: 0% of the checks right" in printed.err
    result = json.loads(out.read_text())
    assert (result["num_people"], result["num_people_left_out"]) == (1, 2)
    frozen, negative = result["preferences"]
    num = sum("frozen" in (one["left"], one["right"]) for one in key["people"][0])
    assert (frozen["other"], frozen["num_ours"], frozen["num_answers"]) == ("frozen", num, num)
    assert negative["share"] == 1.0
    assert f"{num} of {num}" in printed.out


def test_no_answers_that_count(make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_study()
    (tmp_path / "bad.json").write_text("{}")
    capsys.readouterr()
    assert main(["read", str(folder / "study.json"), str(tmp_path / "bad.json")]) == 1
    assert "error: there are no answers to count" in capsys.readouterr().err
    assert main(["read", str(tmp_path / "bad.json"), str(tmp_path / "bad.json")]) == 1
    assert "bad.json is no key of a study (study.json)" in capsys.readouterr().err


def test_bad_clips_are_named_and_the_rest_goes_on(
    make_study: MakeStudy, write_clip: WriteClip, moving_pictures: MakePictures, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip("short.mp4", moving_pictures(2))
    write_clip("unknown.mp4", moving_pictures(20))
    folder = make_study("--references", "2")
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("short.mp4: has 2 frame(s)") for line in lines)
    assert any(line.startswith("unknown.mp4: negative has no such clip in ") for line in lines)
    assert len(key_of(folder)["people"]) == 3


def test_no_clip_at_all(
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    tmp_path: Path,
    tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_clip("short.mp4", moving_pictures(1))
    words = ["--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "study"), "--weights", str(tiny_weights)]
    assert main(["make", *words, "--against", "frozen", "--device", "cpu"]) == 1
    assert "error: there is no pair of videos to ask about" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"against": ()}, "against is empty"),
        ({"against": ("x264",)}, "against has 'x264'; it must be frozen or NAME=FOLDER"),
        ({"against": ("frozen", "frozen")}, "names must differ"),
        ({"against": ("warpcall=a",)}, "names must differ, also from warpcall"),
        ({"seconds": 0.1}, "seconds is 0.1"),
        ({"answers": 0}, "answers is 0"),
        ({"references": 0}, "references is 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MakeConfig(**{"clips": Path(), "out": Path(), "against": ("frozen",), **settings})
