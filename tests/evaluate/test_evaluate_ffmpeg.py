from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from codec.errors import TrainingError
from training.evaluate.ffmpeg import FFmpeg, find_ffmpeg


def script(folder: Path, body: str) -> FFmpeg:
    """Return a program of ours in FFmpeg's place."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return FFmpeg(str(path))


def test_runs_on_bytes(ffmpeg: FFmpeg) -> None:
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-video_size", "2x2"]
    output = ffmpeg.run(["-v", "error", *raw, "-i", "pipe:0", "-vf", "negate", "-f", "rawvideo", "pipe:1"], b"\0\1\2\3")
    assert output.data == b"\xff\xfe\xfd\xfc"
    assert ffmpeg.version() not in ("", "unknown")


def test_a_failure_gives_its_first_line(ffmpeg: FFmpeg) -> None:
    with pytest.raises(TrainingError, match=r"^Unknown input format: 'nonsense'$"):
        ffmpeg.run(["-v", "error", "-f", "nonsense", "-i", "pipe:0"])


def test_a_silent_failure_gives_its_number(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^ended with 3$"):
        script(tmp_path, "raise SystemExit(3)").run([])


def test_a_program_that_hangs_is_given_up(tmp_path: Path) -> None:
    hanging = script(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(TrainingError, match=r"^gave up after 0\.2 s$"):
        FFmpeg(hanging.program, timeout_s=0.2).run([])


def test_a_program_that_is_no_ffmpeg_has_no_version(tmp_path: Path) -> None:
    assert script(tmp_path, "print('something else')").version() == "unknown"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be run: No such file"):
        find_ffmpeg(tmp_path / "absent")


def test_no_program_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(TrainingError, match="no ffmpeg for the comparison codecs"):
        find_ffmpeg()


def test_the_one_on_the_path_is_the_last_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert find_ffmpeg().program == "/somewhere/ffmpeg"
