from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codec import Model
from codec.model.weights import save_weights
from training.evaluate.clips import Frames
from training.evaluate.ffmpeg import FFmpeg, find_ffmpeg
from training.evaluate.metrics.lpips import ALEX, VGG, Lpips, Variant, load_lpips

WriteClip = Callable[..., Path]
MakePictures = Callable[..., Frames]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch's threads from waiting for each other: the networks here are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_clip(tmp_path: Path) -> WriteClip:
    """Write pictures as an mp4 clip, by default into the folder ``clips``."""

    def write(name: str, frames_NHW3: Frames, folder: str = "clips", fps: int = 25) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264rgb", rate=fps)
            stream.height, stream.width = frames_NHW3.shape[1:3]
            stream.pix_fmt = "rgb24"
            stream.options = {"qp": "0", "preset": "ultrafast"}
            for rgb in frames_NHW3:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def moving_pictures() -> MakePictures:
    """Make a smooth random picture that drifts sideways by a pixel a frame, (N, size, size, 3)."""

    def make(num_frames: int, size: int = 64, seed: int = 0) -> Frames:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(1, 3, 8, 16, generator=generator)
        wide = torch.nn.functional.interpolate(coarse, (size, 2 * size), mode="bilinear", align_corners=False)
        wide_HW3 = (wide[0].permute(1, 2, 0) * 255).byte().numpy()
        return np.stack([wide_HW3[:, shift : shift + size] for shift in range(num_frames)])

    return make


def random_lpips_weights(variant: Variant, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for number, stage in enumerate(variant.network.stages):
        for layer in stage:
            shape = (layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
            scale = (2 / (layer.channels_in * layer.kernel * layer.kernel)) ** 0.5
            weights[layer.weight] = torch.randn(shape, generator=generator) * scale
            weights[layer.bias] = torch.randn(layer.channels_out, generator=generator) * 0.1
        weights[f"lin{number}.weight"] = torch.rand(1, stage[-1].channels_out, 1, 1, generator=generator)
    return weights


@pytest.fixture(scope="session")
def lpips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with LPIPS-Alex and LPIPS-VGG, random."""
    folder = tmp_path_factory.mktemp("loss-weights")
    for variant in (ALEX, VGG):
        weights = random_lpips_weights(variant)
        save_file({name: tensor.half() for name, tensor in weights.items()}, folder / variant.file)
    return folder


@pytest.fixture(scope="session")
def lpips(lpips_folder: Path) -> Lpips:
    return load_lpips(lpips_folder, torch.device("cpu"))


@pytest.fixture(scope="session")
def ffmpeg() -> FFmpeg:
    return find_ffmpeg()


@pytest.fixture(scope="session")
def tiny_weights(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, tiny_model.generator.state_dict(), tiny_model.config, {})
    return path
