from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from codec.errors import TrainingError
from training.evaluate.metrics.lpips import ALEX, VGG, Lpips, Variant, load_lpips

SHARED = Path(__file__).parents[4] / "shared" / "weights"
VARIANTS = pytest.mark.parametrize("variant", [ALEX, VGG], ids=lambda variant: str(variant.name))


def package_names(variant: Variant, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of the lpips package."""
    state = {f"lin{number}.model.1.weight": weights[f"lin{number}.weight"].float() for number in range(5)}
    for number, stage in enumerate(variant.network.stages):
        for layer in stage:
            for key in (layer.weight, layer.bias):
                state[key.replace("features", f"net.slice{number + 1}")] = weights[key].float()
    return state


def second_implementation(variant: Variant, weights: dict[str, Tensor], a_BCHW: Tensor, b_BCHW: Tensor) -> list[float]:
    """LPIPS by its authors' package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package: Any = importlib.import_module("lpips")
        metric = package.LPIPS(net=variant.package_name, pretrained=False, pnet_rand=True, verbose=False)
    state = package_names(variant, weights)
    metric.load_state_dict({**metric.state_dict(), **state, **{k.replace("lin", "lins."): v for k, v in state.items()}})
    with torch.inference_mode():
        distances: list[float] = metric(a_BCHW, b_BCHW, normalize=True).flatten().tolist()
    return distances


def pictures(size: int, seed: int, num: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a_BCHW = torch.rand(num, 3, size, size, generator=generator)
    return a_BCHW, (a_BCHW + 0.2 * torch.randn(a_BCHW.shape, generator=generator)).clamp(0, 1)


@VARIANTS
@pytest.mark.parametrize("size", [64, 97])
def test_agrees_with_its_authors_package(lpips_folder: Path, variant: Variant, size: int) -> None:
    metric = load_lpips(lpips_folder, torch.device("cpu"), variant)
    a_BCHW, b_BCHW = pictures(size, seed=size)
    distances = metric.distance(metric.features(a_BCHW), metric.features(b_BCHW)).tolist()
    weights = load_file(lpips_folder / variant.file)
    assert distances == pytest.approx(second_implementation(variant, weights, a_BCHW, b_BCHW), rel=1e-4)
    assert min(distances) > 0.01


@VARIANTS
def test_the_published_weights_rank_noise(lpips_folder: Path, variant: Variant) -> None:
    """With LPIPS's own weights where they are at hand: agreement, and more noise is farther away."""
    folder = SHARED if (SHARED / variant.file).is_file() else lpips_folder
    metric = load_lpips(folder, torch.device("cpu"), variant)
    a_BCHW, b_BCHW = pictures(64, seed=5)
    expected = second_implementation(variant, load_file(folder / variant.file), a_BCHW, b_BCHW)
    distances = metric.distance(metric.features(a_BCHW), metric.features(b_BCHW))
    assert distances.tolist() == pytest.approx(expected, rel=1e-4)
    halfway = metric.distance(metric.features(a_BCHW), metric.features((a_BCHW + b_BCHW) / 2))
    assert bool((halfway < distances).all())


def test_is_zero_for_the_same_and_symmetric(lpips: Lpips) -> None:
    a, b = (lpips.features(picture) for picture in pictures(64, seed=1))
    assert lpips.distance(a, a).tolist() == [0, 0, 0]
    assert lpips.distance(a, b).tolist() == pytest.approx(lpips.distance(b, a).tolist())


def test_source_names_file_and_hash(lpips: Lpips) -> None:
    assert lpips.source.name == ALEX.file
    assert len(lpips.source.sha256) == 64


def test_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no lpips_alex\.safetensors"):
        load_lpips(tmp_path, torch.device("cpu"))


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / ALEX.file).write_bytes(b"not safetensors")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_lpips(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize("key", ["features.3.weight", "lin2.weight"])
def test_weights_of_another_network(tmp_path: Path, lpips_folder: Path, key: str) -> None:
    weights = load_file(lpips_folder / ALEX.file)
    weights[key] = weights[key][:, :1].contiguous()
    save_file(weights, tmp_path / ALEX.file)
    with pytest.raises(TrainingError, match=rf"{key} is missing or has the wrong shape"):
        load_lpips(tmp_path, torch.device("cpu"))


def test_no_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(TrainingError, match="pip install lpips"):
        load_lpips(None, torch.device("cpu"))


@VARIANTS
def test_package_weights_are_found_by_its_names(
    monkeypatch: pytest.MonkeyPatch, lpips_folder: Path, variant: Variant
) -> None:
    weights = load_file(lpips_folder / variant.file)

    class FakeLpips:
        def __init__(self, **settings: Any) -> None:
            assert settings["net"] == variant.package_name

        def state_dict(self) -> dict[str, Tensor]:
            return package_names(variant, weights)

    package = ModuleType("lpips")
    package.LPIPS = FakeLpips  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", package)
    metric = load_lpips(None, torch.device("cpu"), variant)
    assert metric.source.name == f"lpips with torchvision's {variant.title}"
    assert metric.source.sha256 == load_lpips(lpips_folder, torch.device("cpu"), variant).source.sha256
