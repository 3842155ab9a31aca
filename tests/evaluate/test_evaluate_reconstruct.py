from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec import Model
from codec.errors import ConfigError, TrainingError
from training.evaluate import choice, reconstruct
from training.evaluate.__main__ import main
from training.evaluate.clips import Frames, read_clip
from training.evaluate.config import ReconstructConfig, StripConfig
from training.evaluate.measure import Bench
from training.evaluate.metrics.landmarks import Landmarks
from training.evaluate.metrics.lpips import Lpips
from training.evaluate.metrics.pixels import mean_squared_error, psnr_db
from training.evaluate.metrics.weights import WeightsSource
from training.evaluate.reconstruct import Workbench
from training.evaluate.tally import SCORE_NAMES
from training.evaluate.transmission import Transmission

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]
Run = Callable[..., tuple[int, dict[str, Any]]]
FACE: Landmarks = np.array([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]], np.float32)


class CountingDetector:
    """Finds the same face everywhere, or none, and counts pictures."""

    def __init__(self, num_faces: int) -> None:
        self.num_faces, self.num_pictures = num_faces, 0

    def detect(self, frames_NHW3: Frames) -> list[Landmarks]:
        self.num_pictures += len(frames_NHW3)
        return [FACE[None][: self.num_faces]] * len(frames_NHW3)


@pytest.fixture(autouse=True)
def _forget_workbench() -> None:
    reconstruct.open_workbench.cache_clear()


@pytest.fixture
def run(tmp_path: Path, tiny_weights: Path, lpips_folder: Path) -> Run:
    """Run the command on ``clips`` and give its exit code and its JSON."""

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        out = tmp_path / "out" / "result.json"
        paths = {"clips": tmp_path / "clips", "out": out, "weights": tiny_weights, "loss-weights": lpips_folder}
        paths["cache"] = tmp_path / "cache"
        options = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
        code = main(["reconstruct", *options, "--device", "cpu", *words])
        return code, json.loads(out.read_text()) if out.exists() else {}

    return call


def test_writes_every_figure(run: Run, write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    write_clip("a.mp4", moving_pictures(9))
    write_clip("b.mp4", moving_pictures(7, seed=1))
    code, result = run("--no-landmarks", "--references", "1,2,3", "--group", "first=a*")
    assert code == 0
    assert list(result["clips"]) == ["a.mp4", "b.mp4"]
    for figures in (result["overall"], result["clips"]["a.mp4"], result["groups"]["first"]):
        for count in ("1", "2", "3"):
            for name in SCORE_NAMES:
                assert {name, f"frozen_{name}"} <= figures[count].keys()
            assert figures[count]["bits_per_frame"] > 0
            assert figures[count]["frozen_psnr_db"] > 10
    assert result["clips"]["a.mp4"]["3"]["references"] == [0, 3, 6]
    assert result["clips"]["a.mp4"]["3"]["num_scored"] == 6
    assert result["lpips_alex_weights"]["name"] == "lpips_alex.safetensors"
    assert result["command"].startswith("python -m training.evaluate reconstruct --clips ")
    assert {"torch", "python", "av"} <= result["versions"].keys()
    assert result["skipped"] == {}


def test_metrics_that_are_asked_for(run: Run, write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    write_clip("a.mp4", moving_pictures(8))
    write_clip("b.mp4", moving_pictures(8, seed=1))
    code, result = run(
        "--no-landmarks", "--references", "1", "--metrics", "ssim,lpips_vgg,dists,vmaf", "--slow-every", "3"
    )
    assert code == 0
    mean = result["overall"]["1"]
    for name in ("ssim", "lpips_vgg", "dists", "vmaf"):
        assert mean[name] is not None
        assert mean[f"frozen_{name}"] is not None
    assert list(result["metric_weights"]) == ["lpips_alex", "lpips_vgg", "dists", "vmaf"]
    assert result["settings"]["slow_every"] == 3


def test_fid_is_kept_with_the_result(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With features of four colours in place of Inception's; stored rows give the same, and lost features are made."""

    class Colours:
        source = WeightsSource("colours", "0" * 64)

        def features(self, frames_NHW3: Frames) -> Any:
            return frames_NHW3.reshape(len(frames_NHW3), -1)[:, :4].astype(np.float32)

    monkeypatch.setattr(choice, "load_inception", lambda *_: Colours())
    write_clip("a.mp4", moving_pictures(8))
    asked = ("--no-landmarks", "--references", "2", "--metrics", "fid")
    found = [run(*asked)[1]["overall"]["2"] for _ in range(2)]
    reconstruct.open_workbench.cache_clear()
    assert found[0] == found[1]
    assert found[0]["fid"] > 0
    for path in (tmp_path / "cache").glob("*.npy"):
        path.unlink()
    assert run(*asked)[1]["overall"]["2"]["frozen_fid"] == pytest.approx(found[0]["frozen_fid"])


def test_frozen_picture_is_the_nearest_reference(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures
) -> None:
    frames = moving_pictures(8)
    write_clip("a.mp4", frames)
    _, result = run("--no-landmarks", "--references", "1,2")
    first = psnr_db(mean_squared_error(frames, frames[:1]))
    middle = psnr_db(mean_squared_error(frames, frames[4:5]))
    row = result["clips"]["a.mp4"]
    assert row["1"]["frozen_psnr_db"] == pytest.approx(first[1:].mean())
    assert row["2"]["frozen_psnr_db"] == pytest.approx(np.maximum(first, middle)[[1, 2, 3, 5, 6, 7]].mean())
    assert row["frozen_first_psnr_db"] == pytest.approx(first[1:].mean())


def test_moving_clips_are_those_whose_frozen_picture_is_poor(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures
) -> None:
    random = np.random.default_rng(0)
    write_clip("noise.mp4", random.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8))
    write_clip("still.mp4", np.repeat(moving_pictures(1), 4, axis=0))
    _, result = run("--no-landmarks", "--references", "1")
    assert result["moving"]["1"]["num_clips"] == 1
    assert result["moving"]["1"]["psnr_db"] == result["clips"]["noise.mp4"]["1"]["psnr_db"]
    assert result["still"]["1"]["frozen_psnr_db"] == 100


def test_bad_clips_are_named_and_the_rest_goes_on(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip("good.mp4", moving_pictures(6))
    write_clip("one.mp4", moving_pictures(1))
    write_clip("wide.mp4", moving_pictures(6)[:, :48])
    write_clip("noise.mp4", moving_pictures(6)).write_bytes(b"noise")
    code, result = run("--no-landmarks", "--references", "2")
    assert code == 0
    assert result["overall"]["2"]["num_clips"] == 1
    assert list(result["skipped"]) == ["noise.mp4", "one.mp4", "wide.mp4"]
    assert result["clips"]["one.mp4"] == {"reason": "has 1 frame(s); 2 reference(s) need 4"}
    lines = capsys.readouterr().err.splitlines()
    for name, reason in result["skipped"].items():
        assert sum(name in line for line in lines) == 1, reason


def test_clips_without_a_face(run: Run, write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    write_clip("a.mp4", moving_pictures(6))
    code, result = run("--references", "1")
    assert code == 1
    assert result["clips"]["a.mp4"] == {"reason": "no face was found in any scored frame"}
    assert result["overall"] == {}


def test_a_measured_clip_is_not_measured_again(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip("a.mp4", moving_pictures(6))
    _, before = run("--no-landmarks", "--references", "1")
    monkeypatch.setattr(reconstruct, "Transmission", None)
    code, after = run("--no-landmarks", "--references", "1")
    assert code == 0
    assert after["clips"] == before["clips"]


@pytest.mark.parametrize("words", [("--references", "2"), ("--references", "1", "--every", "2")])
def test_other_settings_are_measured_anew(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, words: tuple[str, ...]
) -> None:
    write_clip("a.mp4", moving_pictures(8))
    _, before = run("--no-landmarks", "--references", "1")
    _, after = run("--no-landmarks", *words)
    assert after["clips"] != before["clips"]


def test_a_damaged_memory_is_measured_anew(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    write_clip("a.mp4", moving_pictures(6))
    _, before = run("--no-landmarks", "--references", "1")
    for path in (tmp_path / "cache").iterdir():
        path.write_text("{")
    assert run("--no-landmarks", "--references", "1")[1]["clips"] == before["clips"]


def test_strips_of_each_clip(run: Run, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path) -> None:
    write_clip("a.mp4", moving_pictures(6))
    run("--no-landmarks", "--references", "1,2")
    strips = tmp_path / "strips"
    run("--no-landmarks", "--references", "1,2", "--strips", str(strips))
    assert [path.name for path in strips.iterdir()] == ["a.png"]


def test_only_the_first_frames(run: Run, write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    write_clip("a.mp4", moving_pictures(9))
    row = run("--no-landmarks", "--references", "2", "--frames", "6")[1]["clips"]["a.mp4"]
    assert (row["num_frames"], row["2"]["references"], row["2"]["num_scored"]) == (6, [0, 3], 4)


def test_coded_references_are_counted(run: Run, write_clip: WriteClip, moving_pictures: MakePictures) -> None:
    write_clip("a.mp4", moving_pictures(6))
    _, exact = run("--no-landmarks", "--references", "2")
    _, coded = run("--no-landmarks", "--references", "2", "--coded-references")
    assert len(coded["clips"]["a.mp4"]["2"]["reference_bytes"]) == 2
    assert coded["overall"]["2"]["frozen_psnr_db"] != exact["overall"]["2"]["frozen_psnr_db"]


def test_faces_are_looked_for_once_a_clip(
    write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model, lpips: Lpips, tmp_path: Path
) -> None:
    path = write_clip("a.mp4", moving_pictures(6))
    config = ReconstructConfig(clips=path.parent, out=tmp_path / "o.json", references=(1, 2), cache=tmp_path / "cache")
    detector = CountingDetector(num_faces=1)
    row = Workbench(config, tiny_model, Bench(lpips, detector)).row(path, print)
    assert (row["1"]["akd"], row["2"]["frozen_akd"], row["1"]["faceless"]) == (0, 0, 0)
    assert row["1"]["mouth_lpips"] > 0
    # Five scored frames of the source, two references, five and four received pictures.
    assert detector.num_pictures == 5 + 2 + 5 + 4
    again = CountingDetector(num_faces=1)
    other = ReconstructConfig(clips=path.parent, out=tmp_path / "o.json", references=(2,), cache=tmp_path / "cache")
    Workbench(other, tiny_model, Bench(lpips, again)).row(path, print)
    assert again.num_pictures == 2 + 4


def test_a_clip_without_a_face_is_not_sent(
    write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model, lpips: Lpips, tmp_path: Path
) -> None:
    path = write_clip("a.mp4", moving_pictures(6))
    config = ReconstructConfig(clips=path.parent, out=tmp_path / "o.json", cache=tmp_path / "cache")
    with pytest.raises(TrainingError, match="no face was found"):
        Workbench(config, tiny_model, Bench(lpips, CountingDetector(num_faces=0))).row(path, print)


def test_scores_agree_with_the_pictures(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, tiny_model: Model
) -> None:
    path = write_clip("a.mp4", moving_pictures(6))
    _, result = run("--no-landmarks", "--references", "1")
    frames = read_clip(path, 64).frames_NSS3
    receiver = Transmission(read_clip(path, 64), tiny_model, [frames[0]])
    expected = psnr_db(mean_squared_error(frames[1:], receiver.pictures([1, 2, 3, 4, 5]))).mean()
    # The command's weights were rounded to half precision.
    assert result["overall"]["1"]["psnr_db"] == pytest.approx(expected, abs=0.2)


@pytest.mark.slow
def test_two_processes_give_the_same(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path
) -> None:
    for index in range(2):
        write_clip(f"{index}.mp4", moving_pictures(4, seed=index))
    write_clip("bad.mp4", moving_pictures(1))
    code, parallel = run("--no-landmarks", "--references", "1", "--jobs", "2")
    assert code == 0
    assert list(parallel["skipped"]) == ["bad.mp4"]
    _, serial = run("--no-landmarks", "--references", "1", "--cache", str(tmp_path / "other"))
    assert parallel["overall"]["1"]["lpips_alex"] == pytest.approx(serial["overall"]["1"]["lpips_alex"], rel=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--clips", "absent"), "error: absent is not a folder"),
        (("--weights", "absent.safetensors"), "error: weights: absent.safetensors does not exist"),
        (("--loss-weights", "absent"), "error: absent holds no lpips_alex.safetensors"),
    ],
)
def test_one_line_for_bad_settings(
    run: Run,
    write_clip: WriteClip,
    moving_pictures: MakePictures,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    write_clip("a.mp4", moving_pictures(6))
    assert run(*words) == (1, {})
    assert capsys.readouterr().err.splitlines() == [message]


def test_a_result_that_cannot_be_written(
    run: Run, write_clip: WriteClip, moving_pictures: MakePictures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip("a.mp4", moving_pictures(6))
    (tmp_path / "out").touch()
    assert run("--no-landmarks", "--references", "1") == (1, {})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be written" in lines[0]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--references", "one"), "references"),
        (("--references", "0,1"), "references is 0; it must lie in [1, 16]"),
        (("--every", "0"), "every is 0; it must be at least 1"),
        (("--slow-every", "0"), "slow_every is 0; it must be at least 1"),
        (("--metrics", "ssim,fvd"), "metrics has 'fvd'; there are ssim,"),
        (("--metrics", "identity", "--no-landmarks"), "metrics has identity, which needs landmarks"),
        (("--group", "news"), "group is 'news'; it must be NAME=PATTERN"),
        (("--colour", "red"), "--colour"),
    ],
)
def test_bad_usage_exits_with_2(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["reconstruct", "--clips", "clips", "--out", "out.json", *words])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    assert {"reconstruct", "strip"} <= set(capsys.readouterr().out.split())


def test_settings_of_a_strip() -> None:
    with pytest.raises(ConfigError, match="frames is 0"):
        StripConfig(clip=Path("a.mp4"), out=Path("a.png"), frames=0)


def test_the_metric_runs_on_the_models_device(lpips: Lpips) -> None:
    assert lpips.device == torch.device("cpu")
