from __future__ import annotations

import pytest
import torch
from torch import nn

from codec.errors import ConfigError
from training.config import LossWeights
from training.discriminator import Discriminator, Judgement
from training.losses import discriminator_loss, feature_matching_loss, generator_loss


def judged(*scores: float) -> list[Judgement]:
    return [Judgement(torch.tensor([[scores]]), (torch.tensor([scores]), torch.tensor([scores]) * 2))]


def test_hinge_has_its_closed_form() -> None:
    real, made = judged(2.0, 0.5), judged(-3.0, 1.0)
    assert float(discriminator_loss(real, made)) == pytest.approx((0 + 0.5) / 2 + (0 + 2) / 2)
    assert float(generator_loss(made)) == pytest.approx(1.0)


def test_scales_weigh_the_same() -> None:
    one, two = judged(0.0), judged(0.0) + judged(5.0)
    assert float(discriminator_loss(one, one)) == pytest.approx(2)
    assert float(discriminator_loss(two, two)) == pytest.approx((2 + 6) / 2)


def test_feature_matching_is_the_mean_l1_and_gives_the_real_pictures_no_gradient() -> None:
    wanted, found = torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 4, 4, requires_grad=True)
    scores = torch.zeros(2, 1, 1)
    loss = feature_matching_loss([Judgement(scores, (wanted, 2 * wanted))], [Judgement(scores, (found, 2 * found))])
    l1 = torch.nn.functional.l1_loss
    assert float(loss.detach()) == pytest.approx(float((l1(found, wanted) + l1(2 * found, 2 * wanted)).detach()) / 2)
    loss.backward()
    assert wanted.grad is None
    assert found.grad is not None


def test_shapes_of_two_scales() -> None:
    judgements = Discriminator(2, 8, 3)(torch.rand(2, 3, 64, 64))
    assert [tuple(judgement.scores_BHW.shape) for judgement in judgements] == [(2, 8, 8), (2, 4, 4)]
    assert [tuple(feature.shape[1:]) for feature in judgements[0].features] == [
        (8, 32, 32),
        (16, 16, 16),
        (32, 8, 8),
        (64, 8, 8),
    ]
    assert judgements[0][:1].scores_BHW.shape[0] == 1


def test_channels_double_up_to_their_limit() -> None:
    widths = [layer.out_channels for layer in Discriminator(1, 64, 4).modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 512, 1]


def test_layers_have_spectral_norm_one() -> None:
    torch.manual_seed(0)
    network = Discriminator(1, 8, 2)
    for _ in range(50):
        network(torch.rand(1, 3, 16, 16))
    network.eval()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 4
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)


def test_it_learns_to_tell_bright_from_dark() -> None:
    torch.manual_seed(0)
    network = Discriminator(1, 4, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.5, 0.999))
    bright, dark = torch.rand(4, 3, 16, 16) / 4 + 0.75, torch.rand(4, 3, 16, 16) / 4
    losses = []
    for _ in range(40):
        loss = discriminator_loss(network(bright), network(dark))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_weights_of_losses_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"losses.pixel is -1"):
        LossWeights(pixel=-1)
    with pytest.raises(ConfigError, match=r"losses.feature_matching is 2; it needs losses.gan"):
        LossWeights(feature_matching=2)
