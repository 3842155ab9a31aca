from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import TrainingError
from codec.face import Picture
from training.prepare import talkinghead
from training.prepare.follow import square_of_box
from training.prepare.metadata import read_metadata
from training.prepare.plan import published_tasks
from training.prepare.talkinghead import chunk_frames, read_tubes
from training.prepare.task import Box, ChunkFrames, Seconds, Span, keys_of
from training.prepare.voxceleb import read_annotations

MakeScene = Callable[..., list[Picture]]
WriteVideo = Callable[..., Path]
TUBES = """\
--Y9imYnfBw_0000, 720, 1280, 0, 271, 504, 63, 792, 351
--Y9imYnfBw_0003, 720, 1280, 1005, 1097, 463, 50, 751, 338
-8lgFak3RwU_0000, 720, 1280, 0, 107, 56, 0, 728, 480

-8lgFak3RwU_0000, 720, 1280, 0, seven, 56, 0, 728, 480
-8lgFak3RwU_0000, 720, 1280, 9, 107, 56, 0, 2000, 480
"""
VOX = """\
video_id,start,end,bbox,fps,width,height,partition,person_id
WMh3ye5tBsE,3657,3994,624-48-1018-553,25,1280,720,train,id10005
WMh3ye5tBsE,3657,3994,624-48-1018-553,25,1280,720,train,id10005
bDxy7bnj_bc,16635,16759,113-6-383-355,25,640,360,test,id10003
bDxy7bnj_bc,16759,16635,113-6-383-355,25,640,360,test,id10003
bDxy7bnj_bc,1,60,113-6-883-355,25,640,360,test,id10003
"""
TED = """\
video_id,start,end,bbox,fps,width,height,partition
VM6HZqQKhok#016609#016737,0,0,104-10-665-570,10.0,944,944,train
VM6HZqQKhok,100,228,104-10-665-570,30.0,944,944,train
"""
ANNOTATION = """\
Identity  : \tid00017
Reference : \t7t6lfzvVaTM
Offset    : \t1
FV Conf   : \t16.647\t(1)
ASD Conf  : \t4.465

FRAME \tX \tY \tW \tH
000245 \t0.400 \t0.200 \t0.250 \t0.450
000246 \t0.350 \t0.220 \t0.250 \t0.450
"""


def test_tubes_are_read_as_published(tmp_path: Path) -> None:
    path = tmp_path / "train_video_tubes.txt"
    path.write_text(TUBES)
    spans, faults = read_tubes(path, "train")
    assert [len(of) for of in spans.values()] == [2, 1]
    assert list(spans) == ["--Y9imYnfBw", "-8lgFak3RwU"]
    second = spans["--Y9imYnfBw"][1]
    assert second.when == ChunkFrames(3, 1005, 1097)
    assert second.box == Box(463 / 1280, 50 / 720, 751 / 1280, 338 / 720)
    assert "-" not in second.name
    assert [fault.partition(":")[0] for fault in faults] == [f"{path.name}, line {number}" for number in (5, 6)]


def test_a_table_names_people_and_partitions(tmp_path: Path) -> None:
    path = tmp_path / "vox-metadata.csv"
    path.write_text(VOX)
    spans, faults = read_metadata(path, people=True)
    (test,) = spans["bDxy7bnj_bc"]
    assert test.when == Seconds(16635 / 25, 16759 / 25)
    assert (test.identity, test.partition) == ("id10003", "test")
    assert faults == [
        "vox-metadata.csv, line 5: the stretch from frame 16759 to frame 16635 is empty or too far",
        "vox-metadata.csv, line 6: the box 113-6-883-355 does not lie in a picture of 640x360",
    ]


def test_a_person_may_stand_behind_the_video(tmp_path: Path) -> None:
    path = tmp_path / "vox2.csv"
    path.write_text("video_id,start,end,bbox,fps,width,height\nWMh3ye5tBsE#id00017,0,60,0-0-10-10,25,20,20\n")
    spans, faults = read_metadata(path, people=True)
    assert [span.identity for span in spans["WMh3ye5tBsE"]] == ["id00017"]
    assert not faults


def test_a_table_without_people_leaves_them_to_the_video(tmp_path: Path) -> None:
    path = tmp_path / "ted.csv"
    path.write_text(TED)
    spans, faults = read_metadata(path, people=False)
    assert [span.identity for span in spans["VM6HZqQKhok"]] == ["VM6HZqQKhok"]
    assert faults == ["ted.csv, line 2: the stretch from frame 0 to frame 0 is empty or too far"]


@pytest.mark.parametrize("text", ["", "video_id,start\n", "\0\n"])
def test_another_table_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(TrainingError, match=r"list.csv (has no column|cannot be read)"):
        read_metadata(path, people=True)


@given(
    st.lists(
        st.sampled_from(("0", "-1", "25", "1e9", "nan", "inf", "99999999999999999999", "x", "", "1-2-3-4", "5-5-5-5")),
        max_size=9,
    )
)
def test_odd_rows_are_faults_or_spans_that_can_be_cut(row: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_text("video_id,start,end,bbox,fps,width,height\n" + ",".join(["aaaaaaaaaaa", *row]) + "\n")
        spans, faults = read_metadata(path, people=False)
    assert len(faults) + sum(map(len, spans.values())) == 1
    for (span,) in spans.values():
        assert isinstance(span.when, Seconds)
        assert 0 <= span.when.start_s < span.when.stop_s < 1e6
        assert square_of_box(span.box or Box(0, 0, 1, 1), 640, 360).size >= 0


@pytest.mark.parametrize(
    "line", ["1 nan nan nan nan", "1 0 0 nan 0.5", "1 inf 0 0 0", "99999999999999 0 0 0.5 0.5", "1 2 0 0.1 0.1"]
)
def test_odd_annotations_are_faults(tmp_path: Path, line: str) -> None:
    path = tmp_path / "id1" / "aaaaaaaaaaa" / "00001.txt"
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    spans, faults = read_annotations(tmp_path, "train")
    assert spans == {}
    assert len(faults) == 1


def test_annotations_become_one_span_an_utterance(tmp_path: Path) -> None:
    path = tmp_path / "txt" / "id00017" / "7t6lfzvVaTM" / "00001.txt"
    path.parent.mkdir(parents=True)
    path.write_text(ANNOTATION)
    (path.parent / "00002.txt").write_text(ANNOTATION.replace("0.", "90."))
    (path.parent / "00003.txt").write_text("Identity\n")
    spans, faults = read_annotations(tmp_path / "txt", "test")
    (span,) = spans["7t6lfzvVaTM"]
    assert span.when == Seconds(245 / 25, 247 / 25)
    assert (span.identity, span.partition) == ("id00017", "test")
    assert span.box is not None
    assert span.box.left < 0.35 < 0.65 < span.box.right
    assert ["pixels" in fault for fault in faults] == [True, False]


def test_no_annotations_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no annotations"):
        read_annotations(tmp_path, "train")


@pytest.mark.parametrize("gop", [7, 30, 130])
def test_pieces_lie_where_the_segment_muxer_cuts(
    tmp_path: Path, gop: int, monkeypatch: pytest.MonkeyPatch, scene: MakeScene, write_video: WriteVideo
) -> None:
    monkeypatch.setattr(talkinghead, "CHUNK_S", 2.0)
    video = write_video(tmp_path / "video.mp4", scene(260), gop=gop)
    with (
        av.open(str(video)) as source,
        av.open(str(tmp_path / "piece_%04d.mp4"), "w", format="segment", options={"segment_time": "2"}) as pieces,
    ):
        copied = pieces.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                pieces.mux(packet)
    lengths = []
    for path in sorted(tmp_path.glob("piece_*.mp4")):
        with av.open(str(path)) as piece:
            lengths.append(sum(1 for _ in piece.decode(video=0)))
    times = chunk_frames(video)
    assert [len(chunk) for chunk in times.chunks] == lengths
    assert len(lengths) > 1
    assert times.chunks[1][0] == pytest.approx(lengths[0] / 25)


def test_frames_of_a_piece_are_seconds_of_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: MakeScene, write_video: WriteVideo
) -> None:
    monkeypatch.setattr(talkinghead, "CHUNK_S", 2.0)
    times = chunk_frames(write_video(tmp_path / "video.mp4", scene(120), gop=10))
    when = times.seconds(ChunkFrames(1, 5, 9))
    assert when.start_s == pytest.approx(2.2 - 0.02)
    assert when.stop_s == pytest.approx(2.36 + 0.02)
    for beyond in (ChunkFrames(7, 0, 3), ChunkFrames(1, 80, 90)):
        with pytest.raises(TrainingError, match="the video ends before frame"):
            times.seconds(beyond)


def test_videos_pieces_and_what_is_missing() -> None:
    def span(chunk: int) -> Span:
        return Span(f"{chunk:04d}", ChunkFrames(chunk, 0, 9))

    spans = {"whole": [span(0), span(0)], "in-bits": [span(0), span(3)], "gone": [span(0)]}
    found = {name: Path(f"{name}.mp4") for name in ("whole", "in-bits_0003", "other")}
    there, missing = published_tasks(spans, found)
    assert [(task.key, task.source, len(task.spans)) for task in there] == [
        ("whole", "whole", 1),
        ("in_bits.0003", "in-bits_0003", 1),
    ]
    assert there[1].spans[0].when == ChunkFrames(0, 0, 9)
    assert {span.identity for task in there for span in task.spans} == {"whole", "in_bits"}
    assert [(task.source, task.path) for task in missing] == [("in-bits", None), ("gone", None)]


def test_keys_do_not_collide() -> None:
    keys = keys_of({name: name for name in ("a-b", "a_b", "A_B", "c", "über")})
    assert len({key.lower() for key in keys.values()}) == 5
    assert keys["c"] == "c"
    assert all("-" not in key for key in keys.values())
