from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codec.config import CodecConfig
from training.config import LossWeights, RunConfig, TrainConfig
from training.dataset import build_store
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


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        write_clip(folder / f"made-{number}.mp4", 12, number)
    (folder / "broken-1.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture(scope="session")
def store(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    build_store(clips.glob("made-*.mp4"), folder, size=64, stride=2, frames_per_clip=100)
    landmarks = np.random.default_rng(0).uniform(-1, 1, (18, 18, 2)).astype(np.float32)
    landmarks[::3] = np.nan
    np.save(folder / "landmarks.npy", landmarks)
    return folder


@pytest.fixture(scope="session")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    torch.manual_seed(0)
    save_file({"features.0.weight": torch.randn(4, 3, 3, 3), "features.0.bias": torch.zeros(4)}, path)
    return path


@pytest.fixture(scope="session")
def lpips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lpips")
    generator, weights = torch.Generator().manual_seed(0), {}
    convolutions = ((0, 3, 64, 11), (3, 64, 192, 5), (6, 192, 384, 3), (8, 384, 256, 3), (10, 256, 256, 3))  # AlexNet's
    for layer, (index, narrow, wide, kernel) in enumerate(convolutions):
        weights[f"features.{index}.weight"] = torch.randn(wide, narrow, kernel, kernel, generator=generator) * 0.05
        weights[f"features.{index}.bias"] = torch.zeros(wide)
        weights[f"lin{layer}.weight"] = torch.rand(1, wide, 1, 1, generator=generator)
    save_file(weights, folder / "lpips_alex.safetensors")
    return folder


@pytest.fixture
def config(tiny_config: CodecConfig) -> TrainConfig:
    return TrainConfig(
        codec=tiny_config,
        picture_size=64,
        batch_size=2,
        num_references=(1, 2),
        steps=6,
        decay_steps=1,
        perceptual_sizes=(32,),
        discriminator_width=4,
        discriminator_layers=2,
        losses=LossWeights(gan=0.1, feature_matching=0.1),
    )


@pytest.fixture
def run(store: Path, vgg: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        frames=store, out=tmp_path / "run", vgg=vgg, checkpoint_every=1e9, picture_every=0, tensorboard=False
    )


Train = Callable[[TrainConfig, RunConfig], list[dict[str, float]]]


def stats(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


@pytest.fixture
def train() -> Train:
    def run_here(config: TrainConfig, run: RunConfig) -> list[dict[str, float]]:
        Trainer(config, run, torch.device("cpu")).run()
        return stats(run.out)

    return run_here
