from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from codec import Model, random_model
from codec.bitstream.priors import GRID_BITS
from codec.config import CodecConfig
from codec.frames import image_from_rgb
from codec.model.alignment import Aligner
from training.evaluate.metrics.lpips import load_lpips
from training.priors import PriorsConfig, learn_priors, metric_root
from training.sensitivity import find_sensitivity, nudged, nudges, pictures_of, scenes
from training.tracks import Values


@pytest.fixture
def clip(clips: Path) -> Path:
    return clips / "made-0.mp4"


def test_costs_are_those_of_pictures(clip: Path, tiny_model: Model, lpips_folder: Path) -> None:
    lpips = load_lpips(lpips_folder, torch.device("cpu"))
    found = find_sensitivity([clip], tiny_model, lpips, frames_per_clip=1)
    for matrix_NN in (found.lpips_NN, found.pixels_NN):
        assert matrix_NN.shape == (60, 60)
        np.testing.assert_allclose(matrix_NN, matrix_NN.T, rtol=1e-6, atol=1e-12)
        assert np.linalg.eigvalsh(matrix_NN).min() > -1e-9 * matrix_NN.max()
    source, features = next(scenes(clip, tiny_model, 1))
    with torch.inference_mode():
        aligned = Aligner(tiny_model.generator, features).align(tiny_model.generator.detect(source), source)
        alone = tiny_model.generator.combine([features[aligned.reference]])
        keypoints = aligned.keypoints
        memory = tiny_model.generator.combine(features).preferring(aligned.reference, alone)
        made = tiny_model.generator(keypoints, memory).image_BCHW.clamp(0, 1)
        moved = next(pictures_of(nudged(keypoints), memory, tiny_model))
        missed = lpips.distance(lpips.features(made), lpips.features(source))
        distance_N = lpips.distance(lpips.features(moved), lpips.features(made)) / missed
    expected_N = np.diag(found.lpips_NN)[:8] * nudges(20)[:8] ** 2
    np.testing.assert_allclose(distance_N.numpy(), expected_N, rtol=1e-3)


def test_a_network_that_carries_no_pixels_has_costs_too(
    clip: Path, tiny_config: CodecConfig, lpips_folder: Path
) -> None:
    plain = random_model(dataclasses.replace(tiny_config, warped_pixels=False, still_background=False))
    found = find_sensitivity([clip], plain, load_lpips(lpips_folder, torch.device("cpu")), frames_per_clip=1)
    assert np.isfinite(found.lpips_NN).all()


def test_each_value_is_moved_alone(tiny_model: Model) -> None:
    keypoints = tiny_model.generator.detect(image_from_rgb(np.full((64, 64, 3), 90, dtype=np.uint8)))
    moved = nudged(keypoints)
    assert moved.locations_BKC.shape == (60, 20, 2)
    changed_N = ((moved.locations_BKC != keypoints.locations_BKC).flatten(1).sum(1)).tolist()
    assert changed_N == [1, 1, 0] * 20
    grid_x = float((moved.locations_BKC - keypoints.locations_BKC)[0, 0, 0].detach()) / 2 * (1 << GRID_BITS)
    assert grid_x == pytest.approx(float(nudges(20)[0]), rel=1e-3)


def swaying(seed: int) -> Values:
    random = np.random.default_rng(seed)
    values_FK3 = np.tile([0.1, -0.2, 0.5], (40, 20, 1)) + random.normal(0, 0.02, (40, 20, 3))
    return values_FK3.astype(np.float32)


def test_what_costs_more_is_told_more_finely() -> None:
    metric_NN = np.eye(60) * 1e-6
    metric_NN[0, 0] *= 400
    priors = learn_priors([swaying(seed) for seed in range(6)], PriorsConfig(num_activities=2, rounds=1), metric_NN)
    length_N = np.sqrt((priors.basis_NN.astype(float) ** 2).sum(axis=1))
    assert length_N[0] < length_N[1:].min() / 3


def test_a_root_gives_its_metric_back() -> None:
    random = np.random.default_rng(0)
    factor_NN = random.normal(0, 1e-3, (60, 60))
    root_NN = metric_root(20, factor_NN.T @ factor_NN)
    without_NN = metric_root(20)
    rest_NN = root_NN.T @ root_NN - factor_NN.T @ factor_NN
    np.testing.assert_allclose(rest_NN, 0.05 * without_NN.T @ without_NN, rtol=1e-6, atol=1e-12)
