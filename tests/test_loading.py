from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from codec import Model, load_model
from codec.bitstream.priors import generic_priors, save_priors
from codec.errors import WeightsError
from codec.model.weights import save_weights


def saved(model: Model, folder: Path) -> Path:
    path = folder / "tiny.safetensors"
    save_weights(path, model.generator.state_dict(), model.config, {})
    return path


def test_priors_lie_beside_the_weights(tmp_path: Path, tiny_model: Model) -> None:
    path = saved(tiny_model, tmp_path)
    sha256 = save_priors(tmp_path / "tiny.priors.safetensors", generic_priors(20))
    assert load_model(path).priors.sha256 == sha256


def test_without_them_those_of_the_same_places_on_a_face_serve(tmp_path: Path, tiny_model: Model) -> None:
    assert load_model(saved(tiny_model, tmp_path)).priors.sha256 == load_model().priors.sha256
    config = dataclasses.replace(tiny_model.config, anchored_keypoints=False)
    other = dataclasses.replace(tiny_model, config=config)
    assert load_model(saved(other, tmp_path)).priors.sha256 == generic_priors(20).sha256


def test_priors_of_another_number_of_keypoints_are_refused(tmp_path: Path, tiny_model: Model) -> None:
    path = saved(tiny_model, tmp_path)
    save_priors(tmp_path / "tiny.priors.safetensors", generic_priors(3))
    with pytest.raises(WeightsError, match="is for 3 keypoints; the model has 20"):
        load_model(path)
