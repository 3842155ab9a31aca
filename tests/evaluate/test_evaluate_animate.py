from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec import Model
from codec.errors import ConfigError, TrainingError
from training.evaluate import animate
from training.evaluate.__main__ import main
from training.evaluate.animate import Animation, nearest_similarity, pair
from training.evaluate.cache import FEATURES
from training.evaluate.choice import open_bench
from training.evaluate.clips import Frames
from training.evaluate.measure import Bench
from training.evaluate.metrics.landmarks import Landmarks
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.metrics.weights import WeightsSource
from training.evaluate.protocol_config import AnimateConfig
from training.evaluate.relative_motion import Motion

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]
FACE: Landmarks = np.array([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]], np.float32)


class BrightnessDetector:
    """Finds one face, moved to the right by the first pixel's red; none in a picture that starts with 255."""

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        shifts = [int(frame[0, 0, 0]) for frame in frames_NHW3]
        return [FACE[None] + np.array((shift, 0), np.float32) if shift < 255 else FACE[:0, None] for shift in shifts]


class MeanColour:
    """An embedding of three numbers, and as many features for FID."""

    source = WeightsSource("colours", "0" * 64)

    def __init__(self, name: str) -> None:
        self.name = name

    def view(self, frames_NSS3: Frames, faces: list[Landmarks] | None) -> list[Any]:
        return list(frames_NSS3.mean(axis=(1, 2)))

    def compare(self, source: Any, received: Any) -> dict[str, float | None]:
        return {}


def config(folder: Path, **settings: Any) -> AnimateConfig:
    return AnimateConfig(clips=folder, out=folder / "out.json", cache=folder / "cache", **settings)


def test_motion_starts_where_the_driver_is_like_the_anchor() -> None:
    anchor_K2 = np.array([[0, 0], [0.4, 0], [0, 0.8]])
    wide, narrow = np.array([[0, 0], [0.5, 0], [0, 0.1]]), anchor_K2 / 2 + 0.3
    turned = narrow + np.array([[0.1, 0.1], [0.15, 0.1], [0.1, 0.1]])
    motion = Motion.of(np.stack([wide, narrow, turned]), anchor_K2)
    assert motion.start == 1
    assert motion.scale == pytest.approx(2.0)
    moved = motion.moved(np.stack([wide, narrow, turned]), anchor_K2)
    np.testing.assert_allclose(moved[1], anchor_K2)
    np.testing.assert_allclose(moved[2], anchor_K2 + np.array([[0.2, 0.2], [0.3, 0.2], [0.2, 0.2]]))


def test_motion_of_one_point_has_a_scale() -> None:
    assert np.isfinite(Motion.of(np.zeros((2, 1, 2)), np.ones((1, 2))).scale)


def test_drivers_are_other_people(tmp_path: Path) -> None:
    for name in ("x-c1-0.mp4", "x-c1-1.mp4", "x-c2-0.mp4", "x-c3-0.mp4"):
        (tmp_path / name).touch()
    drivers = pair(config(tmp_path, identity="-(c[0-9]+)-"))
    assert {name: path.name for name, path in drivers.items()} == {
        "x-c1-0.mp4": "x-c2-0.mp4",
        "x-c1-1.mp4": "x-c3-0.mp4",
        "x-c2-0.mp4": "x-c1-0.mp4",
        "x-c3-0.mp4": "x-c1-1.mp4",
    }
    assert list(pair(config(tmp_path, identity="-(c[0-9]+)-", limit=2))) == ["x-c1-0.mp4", "x-c2-0.mp4"]
    with pytest.raises(TrainingError, match="one person alone"):
        pair(config(tmp_path, identity="^(x)"))


def test_nearest_similarity() -> None:
    a, b = np.array([1.0, 0]), np.array([0, 1.0])
    assert nearest_similarity([a, a + b, None], [a, b, None]) == pytest.approx((1 + 0.5**0.5) / 2)
    assert nearest_similarity([a], [None]) is None
    assert nearest_similarity([None], [a]) is None


@pytest.fixture
def animation(tmp_path: Path, tiny_model: Model, lpips: Lpips) -> Animation:
    bench = Bench(lpips, BrightnessDetector(), [MeanColour("identity"), MeanColour("fid")])
    return Animation(config(tmp_path, references=(1, 2), strips=tmp_path / "strips"), tiny_model, bench)


def marked(frames: Frames, reds: list[int]) -> Frames:
    changed = frames.copy()
    changed[:, 0, 0] = 0
    changed[:, 0, 0, 0] = reds
    return changed


def test_figures_of_one_clip(
    animation: Animation, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    clip = write_clip("a.mp4", marked(moving_pictures(6), [4] * 6))
    driver = write_clip("b.mp4", marked(moving_pictures(5, seed=1), [10, 12, 14, 255, 18]))
    counted: list[int] = []
    row = animation.row(clip, driver, counted.append)
    assert row["driver"] == "b.mp4"
    assert row["num_frames"] == 5
    assert counted == [5, 5]
    start, scale = row["start"], row["scale"]
    moves = [abs(red - [10, 12, 14, 255, 18][start]) * scale for red in (10, 12, 14, 18)]
    figures = row["2"]
    assert figures["references"] == [0, 3]
    assert figures["still_akd_relative"] == pytest.approx(np.mean(moves), rel=1e-5)
    assert figures["akd_relative"] is None or figures["akd_relative"] >= 0
    assert 0 < figures["identity_similarity"] <= 1
    assert 0 < figures["driver_identity_similarity"] <= 1
    assert np.load(tmp_path / "cache" / figures[FEATURES]).shape == (2, 5, 3)
    assert (tmp_path / "strips" / "a.png").exists()
    assert animation.row(clip, driver, counted.append) == row
    assert len(counted) == 2


def test_the_anchor_animated_by_itself_is_itself_reconstructed(
    animation: Animation, write_clip: WriteClip, moving_pictures: MakePictures
) -> None:
    """With a driver that is the clip, the motion starts at the first frame with scale 1."""
    clip = write_clip("a.mp4", marked(moving_pictures(6), [4] * 6))
    row = animation.row(clip, clip, lambda _: None)
    assert (row["start"], row["scale"]) == (0, pytest.approx(1.0))
    assert row["1"]["still_akd_relative"] == 0


@pytest.mark.parametrize(
    ("clip_reds", "driver_reds", "message"),
    [([255] * 6, [4] * 5, "no face was found in its first frame"), ([4] * 6, [255] * 5, r"of its driver b\.mp4")],
)
def test_clips_without_a_face(
    animation: Animation,
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    clip_reds: list[int],
    driver_reds: list[int],
    message: str,
) -> None:
    clip = write_clip("a.mp4", marked(moving_pictures(6), clip_reds))
    driver = write_clip("b.mp4", marked(moving_pictures(5), driver_reds))
    with pytest.raises(TrainingError, match=message):
        animation.row(clip, driver, print)


def test_a_driver_that_cannot_be_read(
    animation: Animation, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    clip = write_clip("a.mp4", moving_pictures(6))
    (tmp_path / "noise.mp4").write_bytes(b"noise")
    with pytest.raises(TrainingError, match=r"its driver noise\.mp4 cannot be decoded"):
        animation.row(clip, tmp_path / "noise.mp4", print)


def test_command(
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    tiny_weights: Path,
    lpips_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bench(*settings: Any) -> Bench:
        opened = open_bench((), 1, lpips_folder, False, 64, settings[-1])
        return Bench(opened.lpips, BrightnessDetector(), [MeanColour("fid")])

    animate.open_animation.cache_clear()
    monkeypatch.setattr(animate, "open_bench", bench)
    write_clip("a.mp4", marked(moving_pictures(6), [4] * 6))
    write_clip("b.mp4", marked(moving_pictures(6, seed=1), [4, 5, 6, 7, 8, 9]))
    write_clip("c.mp4", marked(moving_pictures(6, seed=2), [255] * 6))
    words = ["animate", "--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "out.json"), "--device", "cpu"]
    words += ["--weights", str(tiny_weights), "--cache", str(tmp_path / "cache"), "--references", "1"]
    assert main(words) == 0
    animate.open_animation.cache_clear()
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["overall"]["1"]["num_clips"] == 1
    assert result["overall"]["1"]["fid"] > 0
    assert result["overall"]["1"]["identity_similarity"] is None
    assert sorted(result["skipped"]) == ["b.mp4", "c.mp4"]
    assert result["clips"]["a.mp4"]["driver"] == "b.mp4"
    lines = capsys.readouterr().err.splitlines()
    assert "c.mp4: no face was found in its first frame" in lines


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"identity": "id[0-9]+"}, "it must have a group"),
        ({"identity": "("}, "it is no regular expression"),
        ({"metrics": ("dists",)}, "metrics has dists; an animated picture has no source"),
        ({"every": 0}, "every is 0"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **settings)
