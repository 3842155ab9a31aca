"""The page with a real browser: Chromium, headless, from a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from training.evaluate.study.__main__ import main

if TYPE_CHECKING:
    from tests.conftest import OpenPage

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., Path]
READY = "!document.getElementById('choose-left').disabled"


async def start(page: Any, person: int) -> None:
    await page.evaluate(f"document.getElementById('person').value = {person}")
    await page.evaluate("document.querySelector('#start button').click()")


async def press(page: Any, key: str) -> None:
    await page.command("Input.dispatchKeyEvent", type="keyDown", key=key)
    await page.command("Input.dispatchKeyEvent", type="keyUp", key=key)


async def until_file(page: Any, there: Callable[[], bool]) -> None:
    """Wait in the browser's time until a download is there."""
    for _ in range(200):
        if there():
            return
        await page.evaluate("new Promise((done) => setTimeout(done, 50))")
    raise AssertionError("the download has not come")


@pytest.mark.parametrize("embed", [False, True])
async def test_a_person_answers_all_saves_and_is_read_back(
    make_study: MakeStudy, open_page: OpenPage, tmp_path: Path, embed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_study(*(["--embed"] if embed else []))
    hand = json.loads((folder / "study.json").read_text())["people"][1]
    downloads = tmp_path / "downloads"
    async with open_page(tmp_path / "profile") as page:
        await page.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        await page.open((folder / "page" / "index.html").as_uri())
        await start(page, 9)
        assert await page.evaluate("document.getElementById('question').hidden")  # there are three people
        await start(page, 2)
        await page.until(READY)
        assert await page.evaluate("document.getElementById('progress').textContent") == "Example"
        times = await page.evaluate("[...document.querySelectorAll('video')].map((video) => video.currentTime)")
        assert max(times) - min(times) < 0.1
        await press(page, "ArrowRight")
        assert "blurred" in await page.evaluate("document.getElementById('ask').textContent")
        await press(page, "ArrowLeft")
        for number, question in enumerate(hand):
            await page.until(f"document.getElementById('progress').textContent === '{number + 1} of {len(hand)}'")
            if number == 2:  # come back later
                await page.open((folder / "page" / "index.html").as_uri() + "?again#person=2")
                assert "after question 2" in await page.evaluate("document.getElementById('resumed').textContent")
                await page.evaluate("document.querySelector('#start button').click()")
            await page.until(READY)
            left_is_better = question["left"] in ("warpcall", "original")
            if number % 2:
                await press(page, "ArrowLeft" if left_is_better else "ArrowRight")
            else:
                side = "left" if left_is_better else "right"
                await page.evaluate(f"document.getElementById('choose-{side}').click()")
        await page.until("!document.getElementById('done').hidden")
        summary = await page.evaluate("document.getElementById('summary').textContent")
        assert summary == f"You answered {len(hand)} of {len(hand)} questions."
        await page.evaluate("document.getElementById('save').click()")
        (study_id,) = {json.loads((folder / "study.json").read_text())["id"]}
        saved = downloads / f"answers-{study_id}-2.json"
        await until_file(page, lambda: saved.exists() and saved.stat().st_size > 0)
        assert json.loads(await page.evaluate("document.getElementById('text').value")) == json.loads(saved.read_text())
    answers = json.loads(saved.read_text())["answers"]
    assert [one["question"] for one in answers] == list(range(len(hand)))
    assert all(0.3 < one["seconds"] < 60 for one in answers)
    capsys.readouterr()
    out = tmp_path / "preference.json"
    assert main(["read", str(folder / "study.json"), str(saved), "--out", str(out)]) == 0
    assert [one["share"] for one in json.loads(out.read_text())["preferences"]] == [1.0, 1.0]


async def test_time_runs_out_and_videos_may_fail(make_study: MakeStudy, open_page: OpenPage, tmp_path: Path) -> None:
    folder = make_study("--limit-s", "1")
    page_file = folder / "page" / "index.html"
    shown = page_file.read_text()
    async with open_page(tmp_path / "profile") as page:
        await page.open(page_file.as_uri())
        await start(page, 1)
        await page.until(READY)
        await press(page, "ArrowLeft")
        await page.until("document.getElementById('progress').textContent.startsWith('2 of')")
        text = "JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])).answers"
        (first,) = await page.evaluate(text)
        assert (first["choice"], first["reason"]) == (None, "time")
    study = json.loads(shown.split('id="study">')[1].split("</script>")[0])
    broken = {one["left"] for one in study["people"][1]} - set(study["example"].values())
    assert broken
    for place in broken:
        (folder / "page" / "videos" / place).write_bytes(b"noise")
    async with open_page(tmp_path / "other") as page:
        await page.open(page_file.as_uri() + "#person=2")
        await page.evaluate("document.querySelector('#start button').click()")
        await page.until(READY)
        await press(page, "ArrowLeft")
        await page.until("!document.getElementById('done').hidden")
        answers = json.loads(await page.evaluate("document.getElementById('text').value"))["answers"]
    assert [one["reason"] for one in answers] == [
        "error" if broken & set(one.values()) else "time" for one in study["people"][1]
    ]
