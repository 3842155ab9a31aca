from __future__ import annotations

import math

import pytest
import torch

from codec.errors import TrainingError
from codec.model.grid import cell_centres
from training.losses import equivariance_loss, face_weight, landmark_loss, spread_loss
from training.perceptual import PerceptualLoss, VggFeatures, load_vgg
from training.reconstruction import coding_errors, quantise_straight_through, round_to_bins, with_errors
from training.spline import ThinPlateSpline


def spline(batch: int = 2, seed: int = 0) -> ThinPlateSpline:
    return ThinPlateSpline.random(batch, torch.Generator().manual_seed(seed), torch.zeros(1))


def test_a_spline_without_weights_is_affine() -> None:
    bent = spline()
    straight = ThinPlateSpline(bent.affine_B23, bent.control_PC, torch.zeros_like(bent.weights_BP))
    points = torch.rand(2, 5, 2) * 2 - 1
    expected = torch.einsum("bij,bnj->bni", bent.affine_B23[:, :, :2], points) + bent.affine_B23[:, None, :, 2]
    assert torch.allclose(straight(points), expected, atol=1e-6)
    assert not torch.allclose(bent(points), expected, atol=1e-4)


def test_the_warped_image_shows_at_p_what_the_image_shows_at_t_of_p() -> None:
    bent = spline(batch=1, seed=3)
    ramp = cell_centres(64, 64, torch.zeros(1)).permute(2, 0, 1)[None]
    centres = cell_centres(64, 64, ramp).reshape(1, -1, 2)
    wanted = bent(centres).unflatten(1, (64, 64)).permute(0, 3, 1, 2)
    inside = (wanted.abs() < 0.95).all(1, keepdim=True)
    assert torch.allclose(
        bent.warp(ramp)[inside.expand(-1, 2, -1, -1)], wanted[inside.expand(-1, 2, -1, -1)], atol=1e-4
    )


def test_equivariance_is_zero_for_keypoints_that_follow() -> None:
    bent = spline()
    deformed = torch.rand(2, 5, 2) - 0.5
    assert float(equivariance_loss(bent(deformed), deformed, bent)) == pytest.approx(0, abs=1e-6)
    assert float(equivariance_loss(bent(deformed) + 0.1, deformed, bent)) == pytest.approx(0.1, abs=1e-6)


def test_spread_has_its_closed_form_for_two_points() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.1, 0.0]]])
    assert float(spread_loss(points, 0.05)) == pytest.approx(0.05 - 0.01, abs=1e-6)
    assert float(spread_loss(points * 10, 0.05)) == 0
    assert float(spread_loss(points, 0.05, num_taught=2)) == 0


def test_unknown_landmarks_count_nothing_and_give_no_gradient() -> None:
    locations = torch.zeros(1, 3, 2, requires_grad=True)
    landmarks = torch.tensor([[[0.2, 0.2], [math.nan, math.nan]]])
    loss = landmark_loss(locations, landmarks, num_known=2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.2)
    assert locations.grad is not None
    assert torch.isfinite(locations.grad).all()
    assert float(locations.grad[0, 1:].abs().sum()) == 0


def test_pixels_weigh_more_at_a_landmark() -> None:
    weight = face_weight(torch.tensor([[[0.0, 0.0]]]), 33, 4.0)
    assert float(weight[0, 0, 16, 16]) == pytest.approx(5)
    assert float(weight[0, 0, 0, 0]) == pytest.approx(1)


def test_coding_errors_have_their_deviation_along_the_basis() -> None:
    from codec.bitstream.priors import BASIS_BITS, GRID_BITS, generic_priors

    basis_NN = torch.from_numpy(generic_priors(2).basis_NN).float()
    errors_BK3 = coding_errors(basis_NN, 0.5, 4000, torch.Generator().manual_seed(1))
    assert errors_BK3.shape == (4000, 2, 3)
    steps_N = torch.diagonal(basis_NN).unflatten(0, (2, 3)) / (1 << BASIS_BITS)
    expected_K3 = 0.5 * steps_N / (1 << GRID_BITS) * torch.tensor([2.0, 2.0, 1.0])
    assert torch.allclose(errors_BK3.std(0), expected_K3, rtol=0.05)
    assert float(errors_BK3.mean().abs()) < 1e-4


def test_errors_move_keypoints_within_their_range() -> None:
    from codec.structs import Keypoints

    keypoints = Keypoints(torch.tensor([[[0.5, -0.99]]]), torch.tensor([[0.9]]))
    moved = with_errors(keypoints, torch.tensor([[[0.1, -0.1, 0.2]]]))
    assert torch.allclose(moved.locations_BKC, torch.tensor([[[0.6, -1.0]]]))
    assert float(moved.strengths_BK) == 1.0


def test_rounding_is_the_bitstreams(tiny_config: object) -> None:
    from codec.bitstream.quantise import dequantise, quantise
    from codec.config import CodecConfig
    from codec.structs import Keypoints

    assert isinstance(tiny_config, CodecConfig)
    keypoints = Keypoints(torch.rand(1, 20, 2) * 2 - 1, torch.rand(1, 20))
    received = dequantise(quantise(keypoints, tiny_config), tiny_config)
    trained = quantise_straight_through(keypoints, tiny_config)
    assert torch.allclose(trained.locations_BKC, received.locations_BKC, atol=1e-6)
    assert torch.allclose(trained.strengths_BK, received.strengths_BK, atol=1e-6)


def test_rounding_passes_gradients() -> None:
    unit = torch.tensor([0.3], requires_grad=True)
    round_to_bins(unit, 4).backward()
    assert unit.grad is not None
    assert float(unit.grad) == 1


def small_vgg() -> VggFeatures:
    torch.manual_seed(0)
    state = {}
    for number, (narrow, wide) in {0: (3, 4), 2: (4, 4), 5: (4, 6), 7: (6, 6), 10: (6, 8), 12: (8, 8)}.items():
        state[f"features.{number}.weight"] = torch.randn(wide, narrow, 3, 3)
        state[f"features.{number}.bias"] = torch.randn(wide)
    return VggFeatures(state, num_stages=3)


def test_vgg_taps_the_first_relu_of_each_stage() -> None:
    shapes = [tuple(features.shape[1:]) for features in small_vgg()(torch.rand(1, 3, 32, 32))]
    assert shapes == [(4, 32, 32), (6, 16, 16), (8, 8, 8)]


def test_perceptual_distance_is_zero_only_for_equal_pictures() -> None:
    loss = PerceptualLoss(small_vgg(), (32, 16))
    picture = torch.rand(1, 3, 32, 32)
    assert float(loss(picture, picture)) == 0
    assert float(loss(picture, picture.flip(-1))) > 0


def test_no_vgg_weights_is_one_line(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(TrainingError, match="cannot be read"):
        load_vgg(Path(str(tmp_path)) / "none.safetensors")


def test_a_window_is_the_same_of_both_pictures_and_moves() -> None:
    loss = PerceptualLoss(small_vgg(), (16,), crop_share=1.0)
    picture, draws = torch.rand(1, 3, 64, 64), torch.Generator().manual_seed(0)
    windows = [loss.view(picture, picture, 16, draws) for _ in range(4)]
    assert all(torch.equal(made, wanted) for made, wanted in windows)
    assert not torch.equal(windows[0][0], windows[1][0])
    corners = picture.unfold(2, 16, 1).unfold(3, 16, 1)
    assert all(bool((corners == made[:, :, None, None]).all(-1).all(-1).all(1).any()) for made, _ in windows)


def test_pictures_are_shrunk_where_no_window_is_cut() -> None:
    loss = PerceptualLoss(small_vgg(), (16,))
    made, wanted = loss.view(torch.ones(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), 16, None)
    assert made.shape == wanted.shape == (1, 3, 16, 16)
