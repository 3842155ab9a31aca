from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.evaluate.clips import Frames
from training.evaluate.study.__main__ import main

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]
MakeStudy = Callable[..., Path]


@pytest.fixture
def make_study(tmp_path: Path, write_clip: WriteClip, moving_pictures: MakePictures, tiny_weights: Path) -> MakeStudy:
    """Make a study of two clips against the frozen picture and another codec, and return its folder."""

    def make(*words: str) -> Path:
        for number, name in enumerate(("a.mp4", "b.mp4")):
            frames = moving_pictures(20, seed=number)
            write_clip(name, frames)
            write_clip(name, 255 - frames, folder="negative")
        out = tmp_path / "study"
        paths = ["--clips", str(tmp_path / "clips"), "--out", str(out), "--weights", str(tiny_weights)]
        against = ["--against", "frozen", f"negative={tmp_path / 'negative'}"]
        settings = ["--device", "cpu", "--seconds", "0.4", "--check-every", "2"]
        assert main(["make", *paths, *against, *settings, *words]) == 0
        return out

    return make


def read_key(folder: Path) -> dict[str, Any]:
    key: dict[str, Any] = json.loads((folder / "study.json").read_text())
    return key


@pytest.fixture
def answer_all() -> Callable[..., dict[str, Any]]:
    """Answer all questions of a person by a rule over the question's sides."""

    def answer(key: dict[str, Any], person: int, choose: Callable[[dict[str, Any]], str | None]) -> dict[str, Any]:
        given = [
            {"question": number, "choice": choose(question), "seconds": 2.5}
            for number, question in enumerate(key["people"][person - 1])
        ]
        return {"format": "warpcall answers 1", "study": key["id"], "person": person, "started": "", "answers": given}

    return answer
