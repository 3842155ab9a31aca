from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import alexnet

from codec.errors import TrainingError
from training.evaluate.metrics.lpips import CONVOLUTIONS, WEIGHTS_NAME, LpipsAlex, load_lpips

SHARED = Path(__file__).parents[4] / "shared" / "weights" / WEIGHTS_NAME
TAPS = (1, 4, 7, 9, 11)


def second_implementation(weights: dict[str, Tensor], a_BCHW: Tensor, b_BCHW: Tensor) -> list[float]:
    """LPIPS in NumPy over the taps of torchvision's own AlexNet."""
    network = alexnet(weights=None).features
    network.load_state_dict({key.removeprefix("features."): w for key, w in weights.items() if key.startswith("f")})

    def taps(image_BCHW: Tensor) -> list[np.ndarray[Any, Any]]:
        mean, deviation = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        normalised = (image_BCHW.numpy() * 2 - 1 - mean[:, None, None]) / deviation[:, None, None]
        x, found = torch.from_numpy(normalised).float(), []
        for index, layer in enumerate(network):
            x = layer(x)
            if index in TAPS:
                found.append(x.detach().double().numpy())
        return found

    total = np.zeros(len(a_BCHW))
    for layer, (tap_a, tap_b) in enumerate(zip(taps(a_BCHW), taps(b_BCHW), strict=True)):
        unit_a = tap_a / (np.linalg.norm(tap_a, axis=1, keepdims=True) + 1e-10)
        unit_b = tap_b / (np.linalg.norm(tap_b, axis=1, keepdims=True) + 1e-10)
        weight = weights[f"lin{layer}.weight"].double().numpy().reshape(1, -1, 1, 1)
        total += ((unit_a - unit_b) ** 2 * weight).sum(axis=1).mean(axis=(1, 2))
    return total.tolist()


def pictures(size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a_BCHW = torch.rand(3, 3, size, size, generator=generator)
    return a_BCHW, (a_BCHW + 0.2 * torch.randn(a_BCHW.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("size", [64, 97])
def test_agrees_with_a_second_implementation(lpips: LpipsAlex, lpips_folder: Path, size: int) -> None:
    a_BCHW, b_BCHW = pictures(size, seed=size)
    distances = lpips.distance(lpips.features(a_BCHW), lpips.features(b_BCHW)).tolist()
    weights = load_file(lpips_folder / WEIGHTS_NAME)
    assert distances == pytest.approx(second_implementation(weights, a_BCHW, b_BCHW), rel=1e-4)
    assert min(distances) > 0.01


def test_the_published_weights_rank_noise(tmp_path: Path, lpips_folder: Path) -> None:
    """With LPIPS's own weights where they are at hand: agreement, and more noise is farther away."""
    folder = SHARED.parent if SHARED.is_file() else lpips_folder
    metric = load_lpips(folder, torch.device("cpu"))
    a_BCHW, b_BCHW = pictures(64, seed=5)
    expected = second_implementation(load_file(folder / WEIGHTS_NAME), a_BCHW, b_BCHW)
    distances = metric.distance(metric.features(a_BCHW), metric.features(b_BCHW))
    assert distances.tolist() == pytest.approx(expected, rel=1e-4)
    halfway = metric.distance(metric.features(a_BCHW), metric.features((a_BCHW + b_BCHW) / 2))
    assert bool((halfway < distances).all())


def test_is_zero_for_the_same_and_symmetric(lpips: LpipsAlex) -> None:
    a, b = (lpips.features(picture) for picture in pictures(64, seed=1))
    assert lpips.distance(a, a).tolist() == [0, 0, 0]
    assert lpips.distance(a, b).tolist() == pytest.approx(lpips.distance(b, a).tolist())


def test_source_names_file_and_hash(lpips: LpipsAlex) -> None:
    assert lpips.source.name == WEIGHTS_NAME
    assert len(lpips.source.sha256) == 64


def test_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no lpips_alex\.safetensors"):
        load_lpips(tmp_path, torch.device("cpu"))


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS_NAME).write_bytes(b"not safetensors")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_lpips(tmp_path, torch.device("cpu"))


def test_weights_of_another_network(tmp_path: Path, lpips_folder: Path) -> None:
    weights = load_file(lpips_folder / WEIGHTS_NAME)
    weights["features.3.weight"] = weights["features.3.weight"][:1].contiguous()
    save_file(weights, tmp_path / WEIGHTS_NAME)
    with pytest.raises(TrainingError, match=r"features\.3\.weight is missing or has the wrong shape"):
        load_lpips(tmp_path, torch.device("cpu"))


def test_no_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(TrainingError, match="pip install lpips"):
        load_lpips(None, torch.device("cpu"))


def test_package_weights_are_found_by_its_names(monkeypatch: pytest.MonkeyPatch, lpips_folder: Path) -> None:
    weights = load_file(lpips_folder / WEIGHTS_NAME)
    state = {f"lin{layer}.model.1.weight": weights[f"lin{layer}.weight"] for layer in range(5)}
    for layer, (index, *_) in enumerate(CONVOLUTIONS):
        for part in ("weight", "bias"):
            state[f"net.slice{layer + 1}.{index}.{part}"] = weights[f"features.{index}.{part}"]

    class FakeLpips:
        def __init__(self, **settings: Any) -> None:
            assert settings["net"] == "alex"

        def state_dict(self) -> dict[str, Tensor]:
            return state

    package = ModuleType("lpips")
    package.LPIPS = FakeLpips  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", package)
    metric = load_lpips(None, torch.device("cpu"))
    assert metric.source.name == "lpips with torchvision's AlexNet"
    assert metric.source.sha256 == load_lpips(lpips_folder, torch.device("cpu")).source.sha256
