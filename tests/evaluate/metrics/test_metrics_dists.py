from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import VGG16_Weights, vgg16

from codec.errors import TrainingError
from training.evaluate.metrics import dists
from training.evaluate.metrics.dists import Dists, load_dists
from training.evaluate.metrics.lpips import VGG
from training.evaluate.metrics.weights import WeightsSource

SHARED = Path(__file__).parents[4] / "shared" / "weights"
CPU = torch.device("cpu")


def second_implementation(folder: Path, a_BCHW: Tensor, b_BCHW: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """DISTS by its authors' package, with VGG-16 from a file."""
    package: Any = importlib.import_module("DISTS_pytorch.DISTS_pt")
    with torch.device("meta"):
        network = vgg16(weights=None)
    stored = load_file(folder / VGG.file)
    layers = {key.removeprefix("features."): value.float() for key, value in stored.items() if key.startswith("f")}
    network.features.load_state_dict(layers, assign=True)
    monkeypatch.setattr(package.models, "vgg16", lambda **_: network)
    metric = package.DISTS(load_weights=False)
    known = torch.load(Path(package.__file__).parent / "weights.pt", weights_only=True)
    metric.alpha.data, metric.beta.data = known["alpha"], known["beta"]
    with torch.inference_mode():
        distances: list[float] = metric(a_BCHW, b_BCHW).tolist()
    return distances


def pictures(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a_BCHW = torch.rand(2, 3, 64, 96, generator=generator)
    return a_BCHW, (a_BCHW + 0.2 * torch.randn(a_BCHW.shape, generator=generator)).clamp(0, 1)


def test_agrees_with_its_authors_package(lpips_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With VGG-16's own weights where they are at hand, else with random ones."""
    for folder in {lpips_folder, SHARED if (SHARED / VGG.file).is_file() else lpips_folder}:
        metric = load_dists(folder, CPU)
        a_BCHW, b_BCHW = pictures(seed=0)
        distances = metric.distance(metric.features(a_BCHW), metric.features(b_BCHW)).tolist()
        assert distances == pytest.approx(second_implementation(folder, a_BCHW, b_BCHW, monkeypatch), abs=2e-6)
        assert min(distances) > 1e-4


def test_is_zero_for_the_same(lpips_folder: Path) -> None:
    metric = load_dists(lpips_folder, CPU)
    a = metric.features(pictures(seed=1)[0])
    assert metric.distance(a, a).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert metric.source.name == f"{VGG.file} with dists-pytorch 0.1"


def test_texture_may_move_where_structure_may_not(lpips_folder: Path) -> None:
    """What the metric is for: noise resampled is nearer than noise taken away."""
    folder = SHARED if (SHARED / VGG.file).is_file() else lpips_folder
    metric = load_dists(folder, CPU)
    generator = torch.Generator().manual_seed(0)
    noise, other = (0.5 + 0.2 * torch.randn(1, 3, 96, 96, generator=generator).clamp(-2, 2) for _ in range(2))
    source = metric.features(noise)
    flat = metric.features(torch.full_like(noise, 0.5))
    assert metric.distance(source, metric.features(other)) < metric.distance(source, flat)


def test_torchvision_weights_are_taken_without_a_folder(lpips_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = load_file(lpips_folder / VGG.file)
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda *_, **__: {**stored, "classifier.0.bias": 0})
    metric = load_dists(None, CPU)
    assert metric.source.name == "torchvision's VGG-16 with dists-pytorch 0.1"
    assert metric.source.sha256 == load_dists(lpips_folder, CPU).source.sha256


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", fail)
    with pytest.raises(TrainingError, match=r"no network\); give --loss-weights a folder with vgg16_lpips_fp16"):
        load_dists(None, CPU)


def test_no_package_says_what_to_do(lpips_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dists, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="pip install dists-pytorch"):
        load_dists(lpips_folder, CPU)


def test_alpha_of_another_network(lpips_folder: Path) -> None:
    weights = load_file(lpips_folder / VGG.file)
    weights |= {"alpha": torch.ones(3), "beta": torch.ones(3)}
    with pytest.raises(TrainingError, match="alpha is missing or has the wrong shape"):
        Dists(weights, WeightsSource("file", ""), CPU)
