from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec import Model
from codec.bitstream.picture import encode_picture
from codec.errors import TrainingError
from training.evaluate import __main__, rate_distortion
from training.evaluate.__main__ import main
from training.evaluate.clips import Frames, file_sha256
from training.evaluate.config import RateDistortionConfig
from training.evaluate.ffmpeg import FFmpeg
from training.evaluate.measure import Bench
from training.evaluate.metrics.landmarks import Landmarks
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.peer_table import VVENC, X264
from training.evaluate.peers import FFmpegPeer, Mode, Rung, Sent, Setting
from training.evaluate.rate_distortion import FROZEN, OURS, RateDistortion, wire_bytes

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


class DarkeningPeer:
    """Gives every frame a tenth of its bits, and a picture that is darker the fewer there are."""

    name = "darkening"

    def __init__(self) -> None:
        self.asked: list[tuple[Setting, int, int]] = []

    def mode(self, setting: Setting) -> Mode:
        return Mode(("-rate", "{target}"), "kbit/s")

    def send(self, ffmpeg: FFmpeg, frames_NSS3: Frames, fps: float, setting: Setting, rung: Rung) -> Sent:
        self.asked.append((setting, rung.scale, rung.target))
        if rung.target == 5:
            raise TrainingError("darkening failed: too dark")
        darker = frames_NSS3 - np.minimum(frames_NSS3, np.uint8(100 // rung.target))
        return Sent((1000 * rung.target // 80,) * len(frames_NSS3), darker, f"darken {rung.target}", "darkening 1")


class NoFaces:
    """Finds nothing."""

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        return [np.zeros((0, 5, 2), np.float32)] * len(frames_NHW3)


def config(clips: Path, **settings: Any) -> RateDistortionConfig:
    folder = clips.parent
    defaults: dict[str, Any] = {"references": (1, 2), "rates": (4, 8), "scales": (1,), "every": 1, "offline": False}
    defaults["cache"] = folder / "cache"
    return RateDistortionConfig(clips=clips, out=folder / "rd", **(defaults | settings))


@pytest.fixture
def clip(write_clip: WriteClip, moving_pictures: MakePictures) -> Path:
    return write_clip("a.mp4", moving_pictures(10))


def test_counts_bits_of_peers(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    peer = DarkeningPeer()
    points = RateDistortion(config(clip.parent), tiny_model, Bench(lpips, None), ffmpeg, (peer,)).row(clip, print)[
        "points"
    ]
    theirs = [point for point in points if point["coder"] == peer.name]
    assert peer.asked == [("realtime", 1, 4), ("realtime", 1, 8)]
    assert theirs[0]["payload_bits_per_s"] == pytest.approx(50 * 8 * 25)
    assert theirs[0]["wire_bits_per_s"] == pytest.approx((50 + 68) * 8 * 25)
    assert theirs[0]["psnr_db"] < theirs[1]["psnr_db"]
    assert (theirs[1]["command"], theirs[1]["encoder"], theirs[1]["target"]) == ("darken 8", "darkening 1", "8 kbit/s")


def test_ours_and_the_frozen_picture(
    clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg, moving_pictures: MakePictures
) -> None:
    points = RateDistortion(config(clip.parent), tiny_model, Bench(lpips, None), ffmpeg, ()).row(clip, print)["points"]
    assert [(point["coder"], point["references"]) for point in points] == [
        (OURS, 1),
        (FROZEN, 1),
        (OURS, 2),
        (FROZEN, 2),
    ]
    two, frozen = points[2], points[3]
    assert (frozen["payload_bits_per_s"], frozen["wire_bits_per_s"]) == (0, 0)
    assert frozen["psnr_db"] > points[1]["psnr_db"]
    frames = moving_pictures(10)
    reference_bits = 8 * wire_bytes(len(encode_picture(frames[position])) for position in (0, 5))
    assert two["wire_bits_per_s_over_10_s"] - two["wire_bits_per_s"] == pytest.approx(reference_bits / 10)
    assert frozen["wire_bits_per_s_over_10_s"] == pytest.approx(reference_bits / 10)
    assert two["wire_bits_per_s"] == pytest.approx(two["payload_bits_per_s"] + 68 * 8 * 25)


def test_sizes_and_settings_of_the_plan(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    peer = DarkeningPeer()
    settings = config(clip.parent, rates=(8,), scales=(1, 2), offline=True)
    RateDistortion(settings, tiny_model, Bench(lpips, None), ffmpeg, (peer,)).row(clip, print)
    # Half of 64 pixels is under what SVT-AV1 can code.
    assert peer.asked == [("realtime", 1, 8), ("offline", 1, 8)]


def test_only_the_first_seconds_count(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    settings = config(clip.parent, seconds=0.2, references=(3,))
    run = RateDistortion(settings, tiny_model, Bench(lpips, None), ffmpeg, (DarkeningPeer(),))
    done: list[int] = []
    run.row(clip, done.append)
    assert done == [2, 2, 2]


def test_a_failing_peer_gives_a_reason(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    settings = config(clip.parent, rates=(5, 8))
    points = RateDistortion(settings, tiny_model, Bench(lpips, None), ffmpeg, (DarkeningPeer(),)).row(clip, print)[
        "points"
    ]
    assert points[-2]["reason"] == "darkening failed: too dark"
    assert points[-1]["psnr_db"] > 0


def test_a_coded_clip_is_not_coded_twice(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    first, second = DarkeningPeer(), DarkeningPeer()
    bench = Bench(lpips, None)
    before = RateDistortion(config(clip.parent), tiny_model, bench, ffmpeg, (first,)).row(clip, print)
    after = RateDistortion(config(clip.parent), tiny_model, bench, ffmpeg, (second,)).row(clip, print)
    assert after == before
    assert second.asked == []
    RateDistortion(config(clip.parent, rates=(8, 12)), tiny_model, bench, ffmpeg, (second,)).row(clip, print)
    assert second.asked == [("realtime", 1, 12)]


def test_peers_are_taken_from_an_earlier_result(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    def run(peer: DarkeningPeer, **settings: Any) -> list[dict[str, Any]]:
        measured = RateDistortion(config(clip.parent, **settings), tiny_model, Bench(lpips, None), ffmpeg, (peer,))
        points: list[dict[str, Any]] = measured.row(clip, print)["points"]
        return points

    first, second = DarkeningPeer(), DarkeningPeer()
    points, path = run(first), clip.parent / "rd.json"
    result = {
        "settings": {"seconds": 6.0, "every": 1, "references": [1, 2], "slow_every": 5},
        "metric_weights": {name: {"sha256": source.sha256} for name, source in Bench(lpips, None).sources.items()},
        "clips": {"a.mp4": {"sha256": file_sha256(clip), "points": points}, "b.mp4": "has no face"},
    }
    path.write_text(json.dumps(result))
    other = clip.parent / "other"
    assert run(second, peers_from=path, cache=other) == points
    assert second.asked == []
    run(second, peers_from=path, cache=clip.parent / "third", rates=(4, 20))
    assert second.asked == [("realtime", 1, 20)]
    with pytest.raises(TrainingError, match=r"was made with every 1, not 2"):
        run(second, peers_from=path, every=2)
    result["metric_weights"] = {}
    path.write_text(json.dumps(result))
    with pytest.raises(TrainingError, match=r"was made with other weights of lpips_alex, or without it"):
        run(second, peers_from=path)
    path.write_text("[]")
    with pytest.raises(TrainingError, match=r"is not a result of rd"):
        run(second, peers_from=path)


def test_a_clip_without_a_face(clip: Path, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg) -> None:
    run = RateDistortion(config(clip.parent), tiny_model, Bench(lpips, NoFaces()), ffmpeg, ())
    with pytest.raises(TrainingError, match="no face was found"):
        run.row(clip, print)


def test_a_clip_with_no_frame_left(
    write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model, lpips: Lpips, ffmpeg: FFmpeg
) -> None:
    clip = write_clip("a.mp4", moving_pictures(1))
    with pytest.raises(TrainingError, match=r"has 1 frame\(s\)"):
        RateDistortion(config(clip.parent), tiny_model, Bench(lpips, None), ffmpeg, ()).row(clip, print)


@pytest.fixture
def command(tmp_path: Path, tiny_weights: Path, lpips_folder: Path) -> list[str]:
    rate_distortion.open_run.cache_clear()
    paths = {"clips": tmp_path / "clips", "out": tmp_path / "rd", "weights": tiny_weights, "loss-weights": lpips_folder}
    paths["cache"] = tmp_path / "cache"
    return [
        "rd",
        "--device",
        "cpu",
        "--no-landmarks",
        *("--metrics", "ssim"),
        *[word for key, path in paths.items() for word in (f"--{key}", str(path))],
    ]


def test_command_with_all_peers(
    command: list[str], clip: Path, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    write_clip("short.mp4", moving_pictures(1))
    words = ["--references", "1,2", "--rates", "20,100", "--scales", "1", "--every", "2", "--no-offline"]
    assert main([*command, *words]) == 0
    out = tmp_path / "rd"
    result = json.loads((out / "rd.json").read_text())
    assert {point["coder"] for point in result["points"]} == {OURS, FROZEN, "x264", "x265", "VP9", "SVT-AV1", "VVenC"}
    assert len(result["points"]) == 4 + 4 * 2 + 6
    assert list(result["skipped"]) == ["short.mp4"]
    assert result["failures"] == {}
    assert result["peers"].keys() == {"ffmpeg", "x264", "x265", "VP9", "SVT-AV1", "VVenC"}
    assert all("command" in point for point in result["points"] if point["coder"] not in (OURS, FROZEN))
    assert {"peer", "peer_at_our_rate", "peer_passes_at_bits_per_s"} <= result["comparisons"][0].keys()
    assert "Warpcall has LPIPS-Alex" in result["headline"][0]
    assert {row["metric"] for row in result["bd_rates"]} >= {"lpips_alex", "psnr_db"}
    tables = (out / "rd.md").read_text()
    assert tables.count("| SVT-AV1 realtime, 64 px, ") == 2
    assert "short.mp4 was not measured: it has 1 frame(s)" in tables
    assert "libvvenc 1." in tables
    for name in ("rd.png", "rd.svg", "rd-more.svg", "index.html", "media/a.mp4", "media/a.png"):
        assert (out / name).stat().st_size > 1000
    described = result["clips"]["a.mp4"]["showcase"]
    assert [tile["name"] for tile in described["tiles"]][:3] == ["source", OURS, FROZEN]
    assert len(described["references"]) == 2


def only(monkeypatch: pytest.MonkeyPatch, *peers: FFmpegPeer) -> None:
    """Let the command compare with these peers, and draw nothing."""
    monkeypatch.setattr(rate_distortion, "PEERS", peers)
    monkeypatch.setattr(__main__, "draw_curves", lambda *arguments: [])


@pytest.mark.slow
def test_processes_share_the_work_on_a_clip(
    command: list[str], clip: Path, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    write_clip("short.mp4", moving_pictures(1))
    words = [*command, "--references", "1", "--rates", "20", "--scales", "1", "--no-offline", "--peers", "x264,VP9"]
    assert main([*words, "--jobs", "2"]) == 0
    shared = json.loads((tmp_path / "rd" / "rd.json").read_text())
    shutil.rmtree(tmp_path / "cache")
    assert main(words) == 0
    alone = json.loads((tmp_path / "rd" / "rd.json").read_text())
    assert shared["clips"] == alone["clips"]
    assert shared["points"] == alone["points"]


@pytest.mark.slow
def test_offline_settings_are_in_the_same_result(command: list[str], clip: Path, tmp_path: Path) -> None:
    assert main([*command, "--references", "1", "--rates", "20", "--scales", "1", "--videos", "0"]) == 0
    result = json.loads((tmp_path / "rd" / "rd.json").read_text())
    assert result["failures"] == {}
    offline = [point["coder"] for point in result["points"] if point["setting"] == "offline"]
    assert {name: offline.count(name) for name in offline} == dict.fromkeys(
        ("x264", "x265", "VP9", "SVT-AV1", "VVenC"), 5
    )
    assert "in their best offline settings" in result["headline"][0]


def test_a_second_run_codes_nothing(
    command: list[str], clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, X264)
    words = [*command, "--references", "1", "--rates", "20", "--scales", "1", "--no-offline"]
    assert main(words) == 0
    first = (tmp_path / "rd" / "rd.json").read_text()
    shutil.rmtree(tmp_path / "rd")

    def coded(*arguments: object) -> None:
        raise AssertionError("coded again")

    monkeypatch.setattr(FFmpegPeer, "send", coded)
    monkeypatch.setattr(rate_distortion, "Transmission", coded)
    assert main(words) == 0
    assert (tmp_path / "rd" / "rd.json").read_text() == first
    assert (tmp_path / "rd" / "media" / "a.mp4").exists()


def test_a_missing_encoder_costs_its_row_alone(
    command: list[str], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only(monkeypatch, X264, replace(VVENC, encoder="none"))
    words = ["--references", "1", "--rates", "20", "--scales", "1", "--no-offline"]
    assert main([*command, *words]) == 0
    assert "6 point(s) are missing: VVenC: this build of ffmpeg lacks none" in capsys.readouterr().err
    result = json.loads((tmp_path / "rd" / "rd.json").read_text())
    assert result["failures"] == {"VVenC: this build of ffmpeg lacks none": 6}
    assert {point["coder"] for point in result["points"]} == {OURS, FROZEN, "x264"}


def test_without_ffmpeg(command: list[str], clip: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*command, "--ffmpeg", str(tmp_path / "absent")]) == 1
    assert "absent cannot be run: No such file or directory" in capsys.readouterr().err


def test_command_without_a_usable_clip(
    command: list[str],
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_clip("short.mp4", moving_pictures(1))
    assert main(command) == 1
    assert "error: none of 1 clip(s) could be measured" in capsys.readouterr().err


def test_ctrl_c_ends_in_one_line(
    command: list[str], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: RateDistortion, path: Path, on_frames: Callable[[int], None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RateDistortion, "row", interrupt)
    assert main(command) == 1
    assert "stopped; measured clips are kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rates", "0"), "rates has 0; it must lie in [1, 100000]"),
        (("--peers", "x264,h261"), "peers has 'h261'; there are x264, x265"),
        (("--scales", "9"), "scales has 9; it must lie in [1, 8]"),
        (("--seconds", "0"), "seconds is 0.0; it must lie in [0.2, 600]"),
    ],
)
def test_bad_settings_are_usage(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["rd", "--clips", "clips", "--out", "out", *words])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
