from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codec import load_model
from codec.config import CodecConfig
from codec.errors import ConfigError, TrainingError
from training.__main__ import main
from training.config import LossWeights, RunPaths, TrainConfig
from training.dataset import FrameStore, Jitter, Sampler, build_store
from training.recipes import recipe
from training.trainer import Trainer


def write_clip(path: Path, num_frames: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    background = np.kron(draw.integers(0, 255, (8, 8, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(background, 2 * number, axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        write_clip(folder / f"made-{number}.mp4", 12, number)
    (folder / "broken-1.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture(scope="module")
def store(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    faults = build_store(clips.glob("*.mp4"), folder, size=64, stride=2, frames_per_clip=100)
    assert len(faults) == 1
    assert faults[0].startswith("broken-1.mp4: cannot be decoded")
    return folder


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    torch.manual_seed(0)
    save_file({"features.0.weight": torch.randn(4, 3, 3, 3), "features.0.bias": torch.zeros(4)}, path)
    return path


@pytest.fixture
def config(tiny_config: CodecConfig) -> TrainConfig:
    return TrainConfig(
        codec=tiny_config,
        picture_size=64,
        batch_size=2,
        steps=6,
        decay_steps=1,
        perceptual_sizes=(32,),
        losses=LossWeights(),
    )


def train(config: TrainConfig, store: Path, vgg: Path, out: Path) -> list[float]:
    Trainer(config, RunPaths(frames=store, out=out, vgg=vgg), torch.device("cpu")).run(1e9, 1e9, 3)
    lines = (out / "stats.jsonl").read_text().splitlines()
    return [json.loads(line)["pixel"] for line in lines]


def test_store_holds_the_frames(store: Path) -> None:
    frames = FrameStore(store)
    assert [clip.name for clip in frames.clips] == ["made-0", "made-1", "made-2"]
    assert frames.frames.shape == (18, 64, 64, 3)


def test_no_usable_clip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no usable clip: the folder has no video files"):
        build_store([], tmp_path / "out", 64, 1, 10)
    with pytest.raises(TrainingError, match="holds no frame store"):
        FrameStore(tmp_path / "out")


def test_driving_and_references_are_of_one_clip(store: Path) -> None:
    batch = Sampler(FrameStore(store), 64, seed=0).batch(4, 2)
    assert batch.driving_BCHW.shape == (4, 3, 64, 64)
    assert batch.references_BRCHW.shape == (4, 2, 3, 64, 64)
    assert 0 <= float(batch.driving_BCHW.min()) <= float(batch.driving_BCHW.max()) <= 1


def test_landmarks_move_with_their_picture() -> None:
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, :, 40, 20] = 1
    landmarks = torch.full((1, 18, 2), 0.0)
    landmarks[0, 5] = torch.tensor([(2 * 20 + 1) / 64 - 1, (2 * 40 + 1) / 64 - 1])
    jitter = Jitter(torch.tensor([[-0.9, 0.9]]), torch.tensor([[0.1, -0.05]]))
    moved = jitter.points(landmarks)[0, 5]
    brightest = int(jitter.pictures(picture, 64)[0, 0].argmax())
    found = torch.tensor([(2 * (brightest % 64) + 1) / 64 - 1, (2 * (brightest // 64) + 1) / 64 - 1])
    assert torch.allclose(moved, found, atol=2 / 64)


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(
    config: TrainConfig, store: Path, vgg: Path, tmp_path: Path
) -> None:
    whole = train(config, store, vgg, tmp_path / "whole")
    train(dataclasses.replace(config, steps=3), store, vgg, tmp_path / "parts")
    parts = train(config, store, vgg, tmp_path / "parts")
    assert len(whole) == len(parts) == 6
    assert parts[3:] == pytest.approx(whole[3:], rel=1e-5)


def test_the_weights_that_a_run_leaves_can_be_loaded(
    config: TrainConfig, store: Path, vgg: Path, tmp_path: Path
) -> None:
    train(config, store, vgg, tmp_path)
    assert load_model(tmp_path / "tiny.safetensors", device="cpu").config == config.codec
    assert (tmp_path / "step-000003.png").exists()


def test_a_checkpoint_of_another_config_is_refused(config: TrainConfig, store: Path, vgg: Path, tmp_path: Path) -> None:
    train(config, store, vgg, tmp_path)
    other = dataclasses.replace(config, codec=dataclasses.replace(config.codec, num_extra_keys=2))
    with pytest.raises(TrainingError, match="was written by another config"):
        Trainer(other, RunPaths(frames=store, out=tmp_path, vgg=vgg), torch.device("cpu"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(
    config: TrainConfig, store: Path, vgg: Path, tmp_path: Path
) -> None:
    broken = dataclasses.replace(config, losses=LossWeights(pixel=float("inf")))
    with pytest.raises(TrainingError, match="loss is not finite at step 0"):
        train(broken, store, vgg, tmp_path)
    assert (tmp_path / "non-finite-batch.pt").exists()


def test_dry_run_prints_the_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--frames", str(tmp_path), "--out", str(tmp_path), "--dry-run", "--steps", "7"]
    assert main(["train", "compact-256", *arguments]) == 0
    assert "steps=7" in capsys.readouterr().out


def test_command_line_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "compact-256", "--frames", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.startswith("training: ")
    assert main(["train", "cubist-256", "--frames", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "no recipe 'cubist-256'" in capsys.readouterr().err


def test_unknown_recipe() -> None:
    with pytest.raises(ConfigError, match="no recipe"):
        recipe("cubist-256")
