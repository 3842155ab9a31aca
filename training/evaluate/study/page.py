"""Study, the page and its key.

    questions, videos -> page/index.html, page/videos/;  questions -> study.json

The page holds file names that say nothing, and the key says whose each side was. It fetches nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from codec.errors import OutputError
from training.evaluate.cache import write_text
from training.evaluate.study.material import Material
from training.evaluate.study.plan import Pair, Question

FORMAT = "warpcall study 1"


def study_id(people: Sequence[Sequence[Question]]) -> str:
    """Return a study's name: a hash of all its questions."""
    text = json.dumps([[[*question.pair.videos, question.is_swapped] for question in hand] for hand in people])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def key(people: Sequence[Sequence[Question]], command: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the key: whose video was on each side of each question, as JSON values."""
    return {
        "format": FORMAT,
        "id": study_id(people),
        "command": command,
        "settings": settings,
        "people": [
            [
                {
                    "clip": question.pair.clip,
                    "left": question.sides[0],
                    "right": question.sides[1],
                    "check": question.pair.is_check,
                }
                for question in hand
            ]
            for hand in people
        ],
    }


def write_page(
    folder: Path, people: Sequence[Sequence[Question]], material: Material, limit_s: int, embed: bool
) -> None:
    """Write the page.

    Args:
        folder: gets index.html and, unless embedded, videos/.
        people: questions of each person.
        material: the videos; the first check is the example at the start.
        limit_s: time for a question, seconds.
        embed: put the videos into the page.

    Raises:
        OutputError: it cannot be written.
    """
    places = {name: _place(folder, name, data, embed) for name, data in sorted(material.files.items())}
    study = {
        "id": study_id(people),
        "limit_s": limit_s,
        "people": [[_shown(question.pair, question.is_swapped) for question in hand] for hand in people],
        "example": _shown(material.checks[0], is_swapped=False),
        "places": places,
    }
    assets = files("training.evaluate.study")
    page = (assets / "page.html").read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):
        page = page.replace(f"/*{name}*/", (assets / name).read_text(encoding="utf-8"))
    write_text(folder / "index.html", page.replace("/*study*/", _script_json(study)))


def _shown(pair: Pair, is_swapped: bool) -> dict[str, str]:
    left, right = reversed(pair.videos) if is_swapped else pair.videos
    return {"left": left, "right": right, "original": pair.original}


def _place(folder: Path, name: str, data: bytes, embed: bool) -> str:
    if embed:
        return f"data:video/webm;base64,{base64.b64encode(data).decode()}"
    path = folder / "videos" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    return f"videos/{name}"


def _script_json(value: Any) -> str:
    """Return JSON that may stand in a script element whatever it holds."""
    return json.dumps(value).replace("<", "\\u003c")
