from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codec.face import Picture
from training.dataset import build_store
from training.evaluate.clips import find_clips, read_clip
from training.prepare import folder, talkinghead
from training.prepare.__main__ import main
from training.prepare.split import SPLITS

MakeScene = Callable[..., list[Picture]]
WriteVideo = Callable[..., Path]
ReadVideo = Callable[[Path], list[Picture]]
Rows = list[dict[str, str]]
VIDEOS = ("aaaaaaaaaaa", "bbb-bbb_bbb", "ccccccccccc", "-dddddddddd")


@pytest.fixture
def videos(tmp_path: Path, scene: MakeScene, write_video: WriteVideo) -> Path:
    """Make downloads: in each video a face left of the middle, then one right of it; one is no video."""
    folder = tmp_path / "videos"
    for number, video in enumerate(VIDEOS[:-1]):
        pictures = scene(60, [(100, 110)], seed=number) + scene(60, [(220, 110)], seed=number + 10)
        write_video(folder / f"{video}.mp4", pictures, gop=10)
    (folder / f"{VIDEOS[-1]}.mp4").write_bytes(b"this is no video")
    return folder


def rows_of(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def manifest(out: Path) -> Rows:
    """Return the manifest, after checking it against the folders."""
    rows = rows_of(out / "manifest.csv")
    lying = {path.relative_to(out).as_posix() for split in SPLITS for path in (out / split).glob("*.mp4")}
    assert {row["file"] for row in rows} == lying
    identities: dict[str, set[str]] = {}
    for row in rows:
        identities.setdefault(row["identity"], set()).add(row["split"])
        assert Path(row["file"]).name.split("-")[0] == row["identity"]
    assert all(len(splits) == 1 for splits in identities.values())
    return rows


def test_talkinghead(
    tmp_path: Path, videos: Path, marks: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(talkinghead, "CHUNK_S", 2.0)  # pieces begin at frames 0, 50 and 100
    lists, out = tmp_path / "data_list", tmp_path / "out"
    lists.mkdir()
    tubes = [f"{video}_0000, 480, 640, 0, 39, 100, 120, 300, 320" for video in VIDEOS[:2]]
    tubes += [f"{video}_0001, 480, 640, 12, 49, 340, 120, 540, 320" for video in VIDEOS[:2]]
    tubes += [f"{VIDEOS[0]}_0007, 480, 640, 0, 39, 100, 120, 300, 320", "and no tube"]
    (lists / "train_video_tubes.txt").write_text("\n".join(tubes))
    tests = [
        f"{VIDEOS[2]}_0000, 480, 640, 5, 44, 100, 120, 300, 320",
        f"{VIDEOS[3]}_0000, 480, 640, 5, 44, 0, 0, 300, 300",
    ]
    (lists / "val_video_tubes.txt").write_text("\n".join([*tests, "eeeeeeeeeee_0000, 480, 640, 5, 44, 0, 0, 300, 300"]))
    words = ["talkinghead-1kh", "--lists", str(lists), "--videos", str(videos), "--out", str(out), "--no-download"]
    assert main([*words, "--size", "128", "--jobs", "1", "--min-square", "100"]) == 0
    rows = manifest(out)
    assert [row["split"] for row in rows].count("test") == 1
    assert {row["identity"] for row in rows} == {"aaaaaaaaaaa", "bbb_bbb_bbb", "ccccccccccc"}
    assert {row["split"] for row in rows if row["identity"] != "ccccccccccc"} == {"train", "val"}
    assert {(row["start_s"], row["frames"]) for row in rows} == {("0.0", "40"), ("2.48", "38"), ("0.2", "40")}
    first = next(row for row in rows if row["start_s"] == "0.0")
    assert float(first["left"]) + float(first["side"]) / 2 == pytest.approx(100, abs=3)
    reasons = {row["source"]: row["reason"] for row in rows_of(out / "left_out.csv")}
    assert reasons[VIDEOS[0]] == "the video ends before frame 0 of piece 7"
    assert reasons[VIDEOS[3]].startswith("cannot be read")
    assert reasons["eeeeeeeeeee"] == f"is not in {videos}"
    assert "is no tube ('and no tube')" in reasons["train_video_tubes.txt, line 6"]
    told = capsys.readouterr().err
    assert f"left out: {VIDEOS[3]}: cannot be read" in told


def test_talkinghead_from_pieces(tmp_path: Path, scene: MakeScene, write_video: WriteVideo, marks: object) -> None:
    lists, out = tmp_path / "data_list", tmp_path / "out"
    write_video(tmp_path / "videos" / "aaaaaaaaaaa_0003.mp4", scene(60))
    lists.mkdir()
    (lists / "small_video_tubes.txt").write_text("aaaaaaaaaaa_0003, 240, 320, 10, 49, 80, 30, 240, 190\n")
    words = ["talkinghead-1kh", "--lists", str(lists), "--videos", str(tmp_path / "videos"), "--out", str(out)]
    assert main([*words, "--parts", "small", "--crop", "published", "--size", "96", "--jobs", "1"]) == 0
    (row,) = manifest(out)
    assert (row["start_s"], row["stop_s"], row["frames"]) == ("0.4", "1.96", "40")
    assert (row["left"], row["top"], row["side"]) == ("80.0", "30.0", "160.0")


VOX = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"


def test_voxceleb(tmp_path: Path, videos: Path, marks: object) -> None:
    table, out = tmp_path / "vox.csv", tmp_path / "out"
    people = dict(zip(VIDEOS, ("id1", "id1", "id2", "id3"), strict=True))
    lines = [f"{video},0,50,60-40-160-180,25,320,240,train,{people[video]}" for video in VIDEOS]
    lines.append(f"{VIDEOS[0]},70,110,170-40-300-180,25,320,240,test,id9")
    lines.append(f"{VIDEOS[1]},70,110,170-40-300-180,25,320,240,train,id9")
    table.write_text(VOX + "\n".join(lines))
    words = ["voxceleb2", "--list", str(table), "--videos", str(videos), "--out", str(out), "--no-download"]
    assert main([*words, "--jobs", "1"]) == 0
    rows = manifest(out)
    assert {row["identity"] for row in rows} == {"id1", "id2", "id9"}
    assert [row["identity"] for row in rows if row["split"] == "test"] == ["id9"]
    left_out = rows_of(out / "left_out.csv")
    assert "id9 is in the published test partition as well" in {row["reason"] for row in left_out}


def test_voxceleb_by_annotations(tmp_path: Path, videos: Path, marks: object) -> None:
    for part, person, video in (("dev", "id1", VIDEOS[0]), ("test", "id2", VIDEOS[1])):
        path = tmp_path / part / person / video / "00001.txt"
        path.parent.mkdir(parents=True)
        lines = [f"{frame:06d} \t0.204 \t0.312 \t0.219 \t0.292" for frame in range(10, 45)]
        path.write_text("Identity  : \tx\n\nFRAME \tX \tY \tW \tH \n" + "\n".join(lines))
    out = tmp_path / "out"
    words = ["voxceleb2", "--list", str(tmp_path / "dev"), "--test-list", str(tmp_path / "test")]
    assert main([*words, "--videos", str(videos), "--out", str(out), "--jobs", "1"]) == 0
    rows = manifest(out)
    assert {(row["split"], row["identity"], row["frames"]) for row in rows} == {
        ("train", "id1", "35"),
        ("test", "id2", "35"),
    }


def test_tedtalk_cuts_the_published_boxes(tmp_path: Path, videos: Path, read_video: ReadVideo) -> None:
    table, out = tmp_path / "ted.csv", tmp_path / "out"
    columns = "video_id,start,end,bbox,fps,width,height,partition\n"
    lines = [
        f"{video},5,45,120-0-600-470,25,640,480,{part}"
        for video, part in zip(VIDEOS, ("train", "test", "train", "train"), strict=True)
    ]
    lines.append("VM6HZqQKhok#016609#016737,0,0,104-10-665-570,10.0,944,944,train")
    table.write_text(columns + "\n".join(lines))
    words = ["tedtalk", "--list", str(table), "--videos", str(videos), "--out", str(out), "--no-download"]
    assert main([*words, "--jobs", "1"]) == 0
    rows = manifest(out)
    assert {(row["left"], row["top"], row["side"], row["frames"]) for row in rows} == {("60.0", "0.0", "240.0", "40")}
    assert {row["identity"] for row in rows if row["split"] == "test"} == {"bbb_bbb_bbb"}
    picture = read_video(out / rows[0]["file"])[0]
    assert picture.shape == (384, 384, 3)


def test_a_folder_feeds_store_and_evaluation(
    tmp_path: Path, scene: MakeScene, write_video: WriteVideo, marks: object, capsys: pytest.CaptureFixture[str]
) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    for number, name in enumerate(("anna/one.mp4", "anna/two.mkv", "ben/one.mp4", "eve/deep/one.mov", "lone.mp4")):
        write_video(clips / name, scene(40, seed=number))
    (clips / "ben" / "bad.mp4").write_bytes(b"this is no video")
    (clips / "ben" / "notes.txt").write_text("not a video either")
    words = ["folder", "--clips", str(clips), "--out", str(out), "--identity", "folder", "--size", "96", "--jobs", "1"]
    assert main(words) == 0
    rows = manifest(out)
    assert {row["identity"] for row in rows} == {"anna", "ben", "eve", "lone"}
    assert [sum(row["identity"] == name for row in rows) for name in ("anna", "lone")] == [2, 1]
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert "left out: ben/bad.mp4: cannot be read" in capsys.readouterr().err
    train = find_clips(out / "train")
    assert read_clip(train[0], 96).frames_NSS3.shape == (40, 96, 96, 3)
    assert build_store(train, tmp_path / "store", 64, 3, 75) == []
    index = json.loads((tmp_path / "store" / "index.json").read_text())
    assert {clip["group"] for clip in index["clips"]} == {row["identity"] for row in rows if row["split"] == "train"}


def test_upper_bodies_of_a_folder(tmp_path: Path, scene: MakeScene, write_video: WriteVideo, marks: object) -> None:
    write_video(tmp_path / "clips" / "one.mp4", scene(40, [(160, 60)], side=34))
    words = ["folder", "--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*words, "--identity", "file", "--body"]) == 0
    (row,) = manifest(tmp_path / "out")
    assert float(row["side"]) == pytest.approx(34 / 0.21, rel=0.1)
    assert 60 - float(row["top"]) == pytest.approx(0.22 * float(row["side"]), abs=6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["folder", "--clips", "empty"], "empty holds no video"),
        (["folder", "--clips", "nowhere"], "nowhere is not a folder"),
        (["folder", "--clips", "out"], "out is not a folder"),
        (["folder", "--clips", "bad"], "nothing to prepare; 1 cannot be used, the first: x.mp4: cannot be read"),
        (["talkinghead-1kh", "--lists", "empty", "--videos", "empty"], "train_video_tubes.txt cannot be read"),
        (["voxceleb2", "--list", "empty", "--videos", "empty"], "empty holds no annotations"),
        (["tedtalk", "--list", "none.csv", "--videos", "empty"], "none.csv cannot be read"),
        (["tedtalk", "--list", "blank.csv", "--videos", "empty"], "the list is empty"),
    ],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.mp4").write_bytes(b"this is no video")
    (tmp_path / "blank.csv").write_text("video_id,start,end,bbox,fps,width,height\n")
    assert main([*words, "--out", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: ")
    assert told in line
    assert not list(tmp_path.glob("out/**/*.mp4"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--size", "255"], "size is 255"),
        (["--same-face", "9"], "same_face is 9"),
        (["--max-s", "0.5"], "max_s is 0.5"),
    ],
)
def test_settings_out_of_range_are_a_fault_of_usage(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["folder", "--clips", "clips", "--out", "out", *words])
    assert told in capsys.readouterr().err


def test_a_missing_downloader_is_told_before_work_begins(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.prepare.download.find_spec", lambda name: None)
    table = tmp_path / "vox.csv"
    lines = [f"{video},0,50,60-40-160-180,25,320,240,train,id1" for video in (*VIDEOS, "eeeeeeeeeee", "fffffffffff")]
    table.write_text(VOX + "\n".join(lines))
    words = ["voxceleb2", "--list", str(table), "--videos", str(videos), "--out", str(tmp_path / "out")]
    assert main([*words, "--jobs", "1"]) == 1
    told = capsys.readouterr().err
    assert f"error: 2 listed video(s) are not in {videos}, and yt-dlp is not installed" in told
    assert "pip install 'warpcall[download]'" in told
    assert not (tmp_path / "out").exists()


def test_clips_do_not_go_among_the_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    out = tmp_path / "clips" / ".." / "clips"
    assert main(["folder", "--clips", str(tmp_path / "clips"), "--out", str(out)]) == 1
    assert "holds the videos; name another folder for the clips" in capsys.readouterr().err


def test_no_face_at_all_is_told(
    tmp_path: Path, scene: MakeScene, write_video: WriteVideo, marks: object, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "clips" / "one.mp4", scene(40, []))
    words = ["folder", "--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*words, "--identity", "file"]) == 1
    assert "error: no clip came out; most often: no face" in capsys.readouterr().err
    assert rows_of(tmp_path / "out" / "left_out.csv")[0]["reason"] == "no face"
    assert rows_of(tmp_path / "out" / "manifest.csv") == []


def test_a_video_that_ends_in_rubbish_keeps_what_came_before(
    tmp_path: Path, scene: MakeScene, write_video: WriteVideo, marks: object
) -> None:
    path = write_video(tmp_path / "clips" / "cut_off.ts", scene(100), gop=10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] + np.random.default_rng(0).bytes(len(data) // 3))
    words = ["folder", "--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*words, "--identity", "file"]) == 0
    rows = manifest(tmp_path / "out")
    assert 50 <= int(rows[0]["frames"]) <= 80


def test_long_videos_are_worked_on_in_stretches(
    tmp_path: Path, scene: MakeScene, write_video: WriteVideo, marks: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "STRETCH_S", 2)
    write_video(tmp_path / "one.mp4", scene(170))
    words = ["folder", "--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--jobs", "1", "--identity", "file"]
    assert main(words) == 0
    rows = manifest(tmp_path / "out")
    assert [(row["start_s"], row["frames"]) for row in rows] == [("0.0", "50"), ("2.0", "50"), ("4.0", "70")]
    assert {row["identity"] for row in rows} == {"one"}
    assert len(list((tmp_path / "out" / "records").iterdir())) == 3
    assert main(words) == 0  # the clips in out are not taken for videos
    assert manifest(tmp_path / "out") == rows


@pytest.mark.slow
@pytest.mark.parametrize("workers", [["--jobs", "2"], ["--jobs", "2", "--ray-address", "local"]])
def test_two_workers_do_what_one_does(tmp_path: Path, videos: Path, workers: list[str]) -> None:
    table = tmp_path / "ted.csv"
    lines = [f"{video},5,45,120-0-600-470,25,640,480,train" for video in VIDEOS]
    table.write_text("video_id,start,end,bbox,fps,width,height,partition\n" + "\n".join(lines))
    words = ["tedtalk", "--list", str(table), "--videos", str(videos), "--no-download"]
    assert main([*words, "--out", str(tmp_path / "one"), "--jobs", "1"]) == 0
    # A process of its own, as for a user: Ray leaves processes to the end of its own, which pytest would report.
    command = [sys.executable, "-m", "training.prepare", *words, "--out", str(tmp_path / "two"), *workers]
    subprocess.run(command, check=True, timeout=100, cwd=Path(__file__).parents[3])
    assert manifest(tmp_path / "two") == manifest(tmp_path / "one")
    for row in manifest(tmp_path / "one"):
        assert (tmp_path / "two" / row["file"]).read_bytes() == (tmp_path / "one" / row["file"]).read_bytes()
    assert (tmp_path / "two" / "left_out.csv").read_text() == (tmp_path / "one" / "left_out.csv").read_text()
