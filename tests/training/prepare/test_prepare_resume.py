from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from codec.face import Face, Picture
from training.prepare.__main__ import main
from training.prepare.record import Record, load_record, record_path
from training.prepare.task import Seconds, Span, Task

MakeScene = Callable[..., list[Picture]]
WriteVideo = Callable[..., Path]


class Count(Protocol):
    """The scripted detector of ``conftest``."""

    num_calls: int

    def detect(self, rgb: Picture) -> list[Face]: ...


NAMES = ("anna-1", "ben-1", "carl-1", "dora-1")

KILLED = """
import os, signal, sys
from training.prepare.__main__ import main
from training.prepare.clip_file import ClipFile

add, count = ClipFile.add, 0

def add_or_die(self, rgb, time_s):
    global count
    count += 1
    if count == 60:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, rgb, time_s)

ClipFile.add = add_or_die
main(sys.argv[1:])
"""


@pytest.fixture
def clips(tmp_path: Path, scene: MakeScene, write_video: WriteVideo) -> Path:
    for number, name in enumerate(NAMES):
        write_video(tmp_path / "clips" / f"{name}.mp4", scene(40, seed=number))
    return tmp_path / "clips"


def words(clips: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--identity", "prefix", "--size", "96", "--jobs", "1"]
    return ["folder", "--clips", str(clips), "--out", str(out), *fixed, *more]


def prepared(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("*/*.mp4"))}


def test_a_second_run_looks_at_nothing_again(tmp_path: Path, clips: Path, marks: Count) -> None:
    assert main(words(clips, tmp_path / "out")) == 0
    before, calls = prepared(tmp_path / "out"), marks.num_calls
    assert main(words(clips, tmp_path / "out")) == 0
    assert marks.num_calls == calls
    assert prepared(tmp_path / "out") == before
    assert len(before) == 4


def test_more_videos_are_added_and_nobody_moves(
    tmp_path: Path, clips: Path, marks: Count, scene: MakeScene, write_video: WriteVideo
) -> None:
    assert main(words(clips, tmp_path / "out")) == 0
    before, calls = prepared(tmp_path / "out"), marks.num_calls
    write_video(clips / "eve-1.mp4", scene(40, seed=9))
    assert main(words(clips, tmp_path / "out")) == 0
    after = prepared(tmp_path / "out")
    assert marks.num_calls == calls * 5 // 4
    assert {name: after[name] for name in before} == before
    assert [name.partition("/")[2] for name in after.keys() - before.keys()] == ["eve-eve_1-00000-00.mp4"]


def test_a_stopped_run_goes_on(
    tmp_path: Path, clips: Path, marks: Count, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(clips, tmp_path / "whole")) == 0
    detect, calls = marks.detect, marks.num_calls

    def detect_or_stop(rgb: Picture) -> list[Face]:
        if marks.num_calls == calls + 6:
            raise KeyboardInterrupt
        return detect(rgb)

    monkeypatch.setattr(marks, "detect", detect_or_stop)
    assert main(words(clips, tmp_path / "out")) == 1
    assert "stopped; what is finished is kept" in capsys.readouterr().err
    assert [path.stem for path in (tmp_path / "out" / "records").iterdir()] == ["anna_1"]
    monkeypatch.setattr(marks, "detect", detect)
    assert main(words(clips, tmp_path / "out")) == 0
    assert prepared(tmp_path / "out") == prepared(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path, clips: Path, scene: MakeScene, write_video: WriteVideo) -> None:
    """Kill the second video's worker in the middle of a clip; published boxes need no detector."""
    table = tmp_path / "ted.csv"
    columns = "video_id,start,end,bbox,fps,width,height,partition\n"
    table.write_text(columns + "".join(f"{name},0,39,60-0-300-235,25,320,240,train\n" for name in NAMES))
    fixed = ["tedtalk", "--list", str(table), "--videos", str(clips), "--no-download", "--jobs", "1"]
    assert main([*fixed, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, *fixed, "--out", str(out)], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in (out / "records").iterdir()] == ["anna_1.json"]
    (out / "staged" / "ben_1-000000.0060.0000-00.part").write_bytes(b"half a clip")
    assert main([*fixed, "--out", str(out)]) == 0
    assert list((out / "staged").iterdir()) == []
    assert prepared(out) == prepared(tmp_path / "whole")


def test_a_video_that_was_bad_is_tried_again(
    tmp_path: Path, clips: Path, marks: Count, scene: MakeScene, write_video: WriteVideo
) -> None:
    good = (clips / "ben-1.mp4").read_bytes()
    (clips / "ben-1.mp4").write_bytes(good[:100])
    assert main(words(clips, tmp_path / "out")) == 0
    assert len(prepared(tmp_path / "out")) == 3
    (clips / "ben-1.mp4").write_bytes(good)
    assert main(words(clips, tmp_path / "out")) == 0
    assert len(prepared(tmp_path / "out")) == 4


def test_one_folder_has_one_set_of_settings(
    tmp_path: Path, clips: Path, marks: Count, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(words(clips, out)) == 0
    assert main(words(clips, out, "--max-s", "7")) == 1
    assert f"error: {out} was begun with max_s 20.0, not 7.0; use another --out" in capsys.readouterr().err
    assert main(words(clips, out, "--val-share", "0.4")) == 0
    (out / "settings.json").write_text("{")
    assert main(words(clips, out)) == 1
    assert "settings.json cannot be read" in capsys.readouterr().err


def test_clips_move_when_people_turn_out_to_be_one(tmp_path: Path, clips: Path, marks: Count) -> None:
    out = tmp_path / "out"
    assert main(words(clips, out)) == 0
    rows = list(csv.DictReader((out / "manifest.csv").read_text().splitlines()))
    test, train = (next(row for row in rows if row["split"] == split) for split in ("test", "train"))
    path = record_path(out, f"{test['identity']}_1")
    text = path.read_text().replace(f'"identity": "{test["identity"]}"', f'"identity": "{train["identity"]}"')
    path.write_text(text)
    assert main(words(clips, out)) == 0
    rows = list(csv.DictReader((out / "manifest.csv").read_text().splitlines()))
    assert {row["split"] for row in rows if row["identity"] == train["identity"]} == {"train"}
    assert len(prepared(out)) == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"clips": {}}', '{"clips": {"a": [{}]}, "left_out": {}}', "\0"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "records").mkdir()
    path = record_path(tmp_path, "video")
    path.write_text(text)
    assert load_record(path) == Record()
    assert load_record(path).lacks(Task("video", "video.mp4", None, (Span("a", Seconds(0, 1)),)))
