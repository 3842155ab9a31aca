from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec import Model
from codec.bitstream.picture import encode_picture
from codec.errors import TrainingError
from training.evaluate import rate_distortion
from training.evaluate.__main__ import main
from training.evaluate.clips import Frames
from training.evaluate.config import RateDistortionConfig
from training.evaluate.measure import Bench
from training.evaluate.metrics.landmarks import Landmarks
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.peers import Sent, Setting
from training.evaluate.rate_distortion import FROZEN, OURS, RateDistortion, wire_bytes

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


class DarkeningPeer:
    """Gives every frame a tenth of its bits, and a picture that is darker the fewer there are."""

    name = "darkening"

    def __init__(self) -> None:
        self.asked: list[tuple[Setting, int, int]] = []

    def options(self, setting: Setting, bits_per_s: int) -> dict[str, str]:
        return {"rate": str(bits_per_s)}

    def send(self, frames_NSS3: Frames, fps: float, setting: Setting, size: int, bits_per_s: int) -> Sent:
        self.asked.append((setting, size, bits_per_s))
        if bits_per_s == 5000:
            raise TrainingError("darkening failed: too dark")
        darker = frames_NSS3 - np.minimum(frames_NSS3, np.uint8(100_000 // bits_per_s))
        return Sent((bits_per_s // 80,) * len(frames_NSS3), darker)


class NoFaces:
    """Finds nothing."""

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        return [np.zeros((0, 5, 2), np.float32)] * len(frames_NHW3)


def config(clips: Path, **settings: Any) -> RateDistortionConfig:
    folder = clips.parent
    defaults: dict[str, Any] = {"references": (1, 2), "rates": (4, 8), "scales": (1,), "every": 1}
    return RateDistortionConfig(clips=clips, out=folder / "rd", cache=folder / "cache", **(defaults | settings))


@pytest.fixture
def clip(write_clip: WriteClip, moving_pictures: MakePictures) -> Path:
    return write_clip("a.mp4", moving_pictures(10))


def test_counts_bits_of_peers(clip: Path, tiny_model: Model, lpips: Lpips) -> None:
    peer = DarkeningPeer()
    points = RateDistortion(config(clip.parent), tiny_model, Bench(lpips, None), (peer,)).row(clip, print)["points"]
    theirs = [point for point in points if point["coder"] == peer.name]
    assert peer.asked == [("realtime", 64, 4000), ("realtime", 64, 8000)]
    assert theirs[0]["payload_bits_per_s"] == pytest.approx(50 * 8 * 25)
    assert theirs[0]["wire_bits_per_s"] == pytest.approx((50 + 68) * 8 * 25)
    assert theirs[0]["psnr_db"] < theirs[1]["psnr_db"]
    assert theirs[1]["options"] == {"rate": "8000"}


def test_ours_and_the_frozen_picture(
    clip: Path, tiny_model: Model, lpips: Lpips, moving_pictures: MakePictures
) -> None:
    points = RateDistortion(config(clip.parent), tiny_model, Bench(lpips, None), ()).row(clip, print)["points"]
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
    assert two["wire_bits_per_s"] == pytest.approx(two["payload_bits_per_s"] + 68 * 8 * 25)


def test_sizes_and_settings_of_the_plan(clip: Path, tiny_model: Model, lpips: Lpips) -> None:
    peer = DarkeningPeer()
    settings = config(clip.parent, rates=(8,), scales=(1, 2), offline=True)
    RateDistortion(settings, tiny_model, Bench(lpips, None), (peer,)).row(clip, print)
    # Half of 64 pixels is under what SVT-AV1 can code.
    assert peer.asked == [("realtime", 64, 8000), ("offline", 64, 8000)]


def test_only_the_first_seconds_count(clip: Path, tiny_model: Model, lpips: Lpips) -> None:
    settings = config(clip.parent, seconds=0.2, references=(3,))
    run = RateDistortion(settings, tiny_model, Bench(lpips, None), (DarkeningPeer(),))
    done: list[int] = []
    run.row(clip, done.append)
    assert done == [2, 2, 2]


def test_a_failing_peer_gives_a_reason(clip: Path, tiny_model: Model, lpips: Lpips) -> None:
    settings = config(clip.parent, rates=(5, 8))
    points = RateDistortion(settings, tiny_model, Bench(lpips, None), (DarkeningPeer(),)).row(clip, print)["points"]
    assert points[-2]["reason"] == "darkening failed: too dark"
    assert points[-1]["psnr_db"] > 0


def test_a_coded_clip_is_not_coded_twice(clip: Path, tiny_model: Model, lpips: Lpips) -> None:
    first, second = DarkeningPeer(), DarkeningPeer()
    bench = Bench(lpips, None)
    before = RateDistortion(config(clip.parent), tiny_model, bench, (first,)).row(clip, print)
    after = RateDistortion(config(clip.parent), tiny_model, bench, (second,)).row(clip, print)
    assert after == before
    assert second.asked == []
    RateDistortion(config(clip.parent, rates=(8, 12)), tiny_model, bench, (second,)).row(clip, print)
    assert second.asked == [("realtime", 64, 12_000)]


def test_a_clip_without_a_face(clip: Path, tiny_model: Model, lpips: Lpips) -> None:
    run = RateDistortion(config(clip.parent), tiny_model, Bench(lpips, NoFaces()), ())
    with pytest.raises(TrainingError, match="no face was found"):
        run.row(clip, print)


def test_a_clip_with_no_frame_left(
    write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model, lpips: Lpips
) -> None:
    clip = write_clip("a.mp4", moving_pictures(1))
    with pytest.raises(TrainingError, match=r"has 1 frame\(s\)"):
        RateDistortion(config(clip.parent), tiny_model, Bench(lpips, None), ()).row(clip, print)


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
        *[word for key, path in paths.items() for word in (f"--{key}", str(path))],
    ]


def test_command_with_all_peers(
    command: list[str], clip: Path, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    write_clip("short.mp4", moving_pictures(1))
    assert main([*command, "--references", "1,2", "--rates", "20,100", "--scales", "1", "--every", "2"]) == 0
    result = json.loads((tmp_path / "rd" / "rd.json").read_text())
    assert {point["coder"] for point in result["points"]} == {OURS, FROZEN, "x264", "x265", "VP9", "SVT-AV1"}
    assert len(result["points"]) == 4 + 4 * 2
    assert list(result["skipped"]) == ["short.mp4"]
    assert result["failures"] == {}
    assert {"peer", "peer_at_our_rate", "peer_passes_at_bits_per_s"} <= result["headline"][0].keys()
    assert {"x264-params", "preset", "tune"} == result["clips"]["a.mp4"]["points"][4]["options"].keys()
    tables = (tmp_path / "rd" / "rd.md").read_text()
    assert tables.count("| SVT-AV1 realtime, 64 px |") == 2
    assert tables.count("\n| 2 |") == 2 * 4
    assert (tmp_path / "rd" / "rd.png").exists()
    assert (tmp_path / "rd" / "rd.svg").exists()


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
        (("--scales", "9"), "scales has 9; it must lie in [1, 8]"),
        (("--seconds", "0"), "seconds is 0.0; it must lie in [0.2, 600]"),
    ],
)
def test_bad_settings_are_usage(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["rd", "--clips", "clips", "--out", "out", *words])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err
