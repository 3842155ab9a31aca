from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.evaluate.__main__ import main
from training.evaluate.headline import comparisons
from training.evaluate.rate_distortion import FROZEN, OURS
from training.evaluate.readme import BEGIN, END


def point(coder: str, wire: float, lpips: float, **more: Any) -> dict[str, Any]:
    rates = {"payload_bits_per_s": wire / 2, "wire_bits_per_s": wire}
    return {"coder": coder, "setting": "realtime", "size": 64, **rates, "lpips_alex": lpips, **more}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of small results."""
    points = [point(OURS, 20_000, 0.1, references=3), point(FROZEN, 0, 0.2, references=3)]
    points += [point("x264", 30_000, 0.3), point("x264", 60_000, 0.05)]
    rates = {
        "format": "warpcall rd 2",
        "command": "python -m training.evaluate rd",
        "model": {"image_size": 64},
        "settings": {"seconds": 6.0},
        "headline": ["Ours is better."],
        "comparisons": comparisons(points),
        "points": points,
        "clips": {"a.mp4": {"points": [], "showcase": {"video": "media/a%20b.mp4"}}, "b.mp4": {"reason": "is short"}},
    }
    row = {"num_clips": 2, "psnr_db": 30.0, "frozen_psnr_db": 28.0, "lpips_alex": 0.05, "frozen_lpips_alex": None}
    reconstruct = {
        "format": "warpcall reconstruct 1",
        "command": "python -m training.evaluate reconstruct",
        "overall": {"1": row},
        "groups": {"news": {"1": row}, "rest": {"1": {**row, "num_clips": 7}}, "rest_moving": {}},
    }
    folder = tmp_path / "results"
    for name, value in (("rd/rd.json", rates), ("ship/rd.json", rates), ("reconstruct.json", reconstruct)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    (folder / "ship/media").mkdir()
    (folder / "ship/media/a b.png").write_bytes(b"picture")
    return folder


def test_prints_headline_and_tables(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["readme", "--results", str(results)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(BEGIN)
    assert text.endswith(END + "\n")
    assert "1 test clip(s), the first 6 s of each, 64x64" in text
    assert "- Ours is better." in text
    assert "| **Warpcall, 3 reference(s)** | **20.0** | **0.100** |  |" in text
    assert "| x264, realtime | from 30.0 | - | 52.2 |" in text
    assert "| all but news readers (7) | 1 | 30.0 (28.0) | 0.050 (-) |" in text
    assert "| news readers (2) | 1 |" in text
    assert "| all (2) |" not in text


def test_replaces_its_part_of_a_file_and_copies_the_strip(results: Path, tmp_path: Path) -> None:
    readme, strip = tmp_path / "README.md", tmp_path / "docs" / "strip.png"
    readme.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\n## Next\n")
    words = ["readme", "--results", str(results), "--into", str(readme), "--strip", str(strip)]
    for _ in range(2):
        assert main(words) == 0
        text = readme.read_text()
        assert text.startswith(f"# Title\n\n{BEGIN}\n\n**Bitrate")
        assert text.endswith(f"{END}\n\n## Next\n")
        assert "old" not in text
    assert strip.read_bytes() == b"picture"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rd/rd.json", None, "cannot be read: No such file"),
        ("rd/rd.json", "{", "is no JSON"),
        ("reconstruct.json", "[]", "is no result of training.evaluate"),
        ("reconstruct.json", '{"format": "else"}', "is no result of training.evaluate"),
    ],
)
def test_a_bad_result(
    results: Path, name: str, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / name).unlink()
    if content is not None:
        (results / name).write_text(content)
    assert main(["readme", "--results", str(results)]) == 1
    assert message in capsys.readouterr().err


def test_a_file_without_the_lines(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text(f"# Title\n{END}\n")
    assert main(["readme", "--results", str(results), "--into", str(tmp_path / "README.md")]) == 1
    assert "README.md lacks the lines" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == f"# Title\n{END}\n"


def test_a_strip_that_nobody_made(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "ship/media/a b.png").unlink()
    words = ["readme", "--results", str(results), "--strip", str(tmp_path / "strip.png")]
    assert main(words) == 1
    assert "cannot be copied" in capsys.readouterr().err
    result = json.loads((results / "ship/rd.json").read_text())
    (results / "ship/rd.json").write_text(json.dumps({**result, "clips": {}}))
    assert main(words) == 1
    assert "shows no clip; measure it with --videos 1" in capsys.readouterr().err
