from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from codec.errors import OutputError
from codec.structs import EncodedFrame, QuantisedKeypoints
from sender.display import LineDisplay, NoDisplay, TableDisplay, display_for, rows_of
from sender.dump import FrameDump
from sender.peer import Silence, first_codec
from sender.stats import Book, Second, Snapshot, Traffic, write_report


def snapshot(packets: int, payload_bytes: int, *, received: int = 0, rtt_s: float | None = None) -> Snapshot:
    video = Traffic(packets=packets, payload_bytes=payload_bytes, header_bytes=58 * packets)
    return Snapshot(video=video, packets_received=received, rtt_s=rtt_s)


def note_frames(book: Book, count: int, interval_us: int, delay_us: int = 20_000) -> None:
    keypoints = QuantisedKeypoints(np.zeros((20, 3), dtype=np.int32))
    for number in range(count):
        encoded = EncodedFrame(b"12345", number, number == 0, keypoints, is_aligned=number % 4 == 3)
        book.note_frame(encoded, number * interval_us, number * interval_us + delay_us, True)


def test_wire_bytes_count_headers() -> None:
    sent = Traffic(packets=10, payload_bytes=120, header_bytes=580)
    assert sent.wire_bytes == 700
    assert (sent + sent - sent).wire_bytes == 700


def test_the_report_adds_up_over_calls() -> None:
    book = Book()
    note_frames(book, 100, 40_000)
    book.note_snapshot(snapshot(60, 600, rtt_s=0.05))
    book.end_call()
    book.note_snapshot(snapshot(40, 400, rtt_s=0.07))
    book.end_call()
    report = book.report(num_skipped=3)
    assert report["duration_s"] == pytest.approx(4.0)
    assert report["fps"] == pytest.approx(25.0)
    assert report["payload_bits_per_s"] == pytest.approx(1000 * 8 / 4)
    assert report["wire_bits_per_s"] == pytest.approx((1000 + 5800) * 8 / 4)
    assert report["frames_sent"] == 100
    assert report["frames_skipped"] == 3
    assert report["keyframes_sent"] == 1
    assert report["frames_aligned"] == 25
    assert book.second().is_aligned
    assert report["capture_to_coded_ms"] == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
    assert report["rtt_ms"] == {"p50": 60.0, "p95": 69.0, "p99": 69.8}


def test_the_report_of_no_call_is_empty() -> None:
    report = Book().report(0)
    assert report["duration_s"] == report["fps"] == report["wire_bits_per_s"] == report["loss"] == 0
    assert report["rtt_ms"] == {}


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, {"frames_sent": 3})
    assert json.loads(path.read_text()) == {"frames_sent": 3}
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(OutputError, match=r"^cannot write .*report\.json: No such file or directory$"):
        write_report(tmp_path / "missing" / "report.json", {})


def test_a_dump_keeps_pictures_with_numbers_and_times(tmp_path: Path) -> None:
    path = tmp_path / "dump.npz"
    dump = FrameDump(path)
    for number in range(3):
        dump.add(number, np.full((8, 8, 3), number, dtype=np.uint8), 1000 * number)
    dump.save()
    with np.load(path) as saved:
        assert saved["numbers"].tolist() == [0, 1, 2]
        assert saved["times_us"].tolist() == [0, 1000, 2000]
        assert saved["pictures"].shape == (3, 8, 8, 3)
        assert saved["pictures"][:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_dump_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing is not a folder"):
        FrameDump(tmp_path / "missing" / "dump.npz")


def test_a_dump_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.dump.MAX_PICTURES", 2)
    dump = FrameDump(tmp_path / "dump.npz")
    for number in range(5):
        dump.add(number, np.zeros((4, 4, 3), dtype=np.uint8), number)
    dump.save()
    with np.load(tmp_path / "dump.npz") as saved:
        assert saved["numbers"].tolist() == [0, 1]


def test_silence_is_counted_in_glances() -> None:
    silence = Silence(1.0, glance_s=0.25)
    assert not silence.is_over_limit(snapshot(0, 0, received=5))
    assert [silence.is_over_limit(snapshot(0, 0, received=5)) for _ in range(4)] == [False, False, False, True]
    assert not silence.is_over_limit(snapshot(0, 0, received=6))


def test_the_first_codec_of_an_answer_is_read() -> None:
    answer = (
        "v=0\r\nm=audio 9 X 96\r\na=rtpmap:96 opus/48000/2\r\n"
        "m=video 9 X 99 97\r\na=rtpmap:97 VP8/90000\r\na=rtpmap:99 H264/90000\r\n"
    )
    assert first_codec(answer) == "H264"
    assert first_codec("v=0\r\n") == "nothing"


SECOND = Second(
    state="connected",
    codec="X-WARPCALL",
    fps=29.96,
    payload_kbps=3.21,
    wire_kbps=19.5,
    audio_kbps=0.0,
    rtt_ms=None,
    loss=0.013,
    has_face=True,
    mode="keypoints",
)


def test_a_line_tells_the_last_second(capsys: pytest.CaptureFixture[str]) -> None:
    with display_for() as display:
        assert isinstance(display, LineDisplay)
        display.show(SECOND)
    assert capsys.readouterr().out == (
        "state connected, codec X-WARPCALL, mode keypoints, face yes, pictures 30.0 /s, payload 3.2 kbit/s, "
        "wire 19.5 kbit/s, sound 0.0 kbit/s, RTT -, loss 1.3%\n"
    )


def test_aligned_keypoints_are_told() -> None:
    assert dict(rows_of(dataclasses.replace(SECOND, is_aligned=True)))["mode"] == "aligned keypoints"
    assert dict(rows_of(dataclasses.replace(SECOND, is_aligned=True, mode="hold")))["mode"] == "hold"


def test_a_table_tells_it_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with TableDisplay(sys.stdout) as display:
        display.show(SECOND)
    shown = capsys.readouterr().out
    assert all(name in shown and value in shown for name, value in rows_of(SECOND))


def test_a_quiet_display_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with display_for(quiet=True) as display:
        assert isinstance(display, NoDisplay)
        display.show(SECOND)
    assert capsys.readouterr().out == ""
