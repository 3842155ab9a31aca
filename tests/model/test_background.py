from __future__ import annotations

import dataclasses

import pytest
import torch

from codec.config import CodecConfig
from codec.errors import ConfigError
from codec.model.background import MatteNetwork, pull_push, still_backgrounds
from codec.model.generator import Generator
from codec.structs import Keypoints


@pytest.fixture(scope="session")
def layered_config(tiny_config: CodecConfig) -> CodecConfig:
    return dataclasses.replace(tiny_config, rigid_motion=True, still_background=True, sampling="bicubic")


def test_a_fully_known_picture_is_left_as_it_is() -> None:
    picture = torch.rand(1, 3, 16, 16)
    assert torch.allclose(pull_push(picture, torch.ones(1, 1, 16, 16)), picture, atol=1e-6)
    assert torch.allclose(pull_push(picture * 3, torch.full((1, 1, 16, 16), 3.0)), picture, atol=1e-6)


def test_a_hole_in_one_colour_is_filled_with_it() -> None:
    weight = torch.ones(1, 1, 24, 24)
    weight[:, :, 4:19, 7:20] = 0
    colour = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    assert torch.allclose(pull_push(colour * weight, weight), colour.expand(1, 3, 24, 24), atol=1e-4)


def test_a_hole_takes_the_colour_that_is_nearer() -> None:
    picture = torch.zeros(1, 1, 32, 32)
    picture[..., 16:] = 1
    weight = torch.ones(1, 1, 32, 32)
    weight[..., 8:24] = 0
    filled = pull_push(picture * weight, weight)[0, 0, 16]
    assert float(filled[9]) < 0.35
    assert float(filled[22]) > 0.65


def test_nothing_known_is_no_error() -> None:
    assert torch.isfinite(pull_push(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))).all()


def test_what_one_reference_hides_another_shows() -> None:
    wall = torch.rand(1, 3, 16, 16)
    images = torch.stack((wall, wall), dim=1)
    mattes = torch.zeros(1, 2, 1, 16, 16)
    mattes[:, 0, :, :, :6], mattes[:, 1, :, :, 10:] = 1, 1
    images = torch.where(mattes > 0, torch.tensor(0.5), images)
    backgrounds = still_backgrounds(images, mattes)
    assert torch.allclose(backgrounds[:, :, :3], wall[:, None].expand(-1, 2, -1, -1, -1), atol=1e-5)
    assert (backgrounds[:, :, 3] == 1).all()


def test_what_all_references_hide_is_marked_as_invented() -> None:
    images, mattes = torch.rand(1, 2, 3, 16, 16), torch.zeros(1, 2, 1, 16, 16)
    mattes[..., 4:9] = 1
    known = still_backgrounds(images, mattes)[:, :, 3]
    assert (known[..., 4:9] == 0).all()
    assert (known[..., 10:] == 1).all()


def test_the_mixed_colours_of_an_outline_are_not_background() -> None:
    images, mattes = torch.full((1, 1, 3, 16, 16), 0.25), torch.zeros(1, 1, 1, 16, 16)
    mattes[..., :8], images[..., :8] = 1, 1.0
    images[..., 8] = 0.6
    backgrounds = still_backgrounds(images, mattes)
    assert torch.allclose(backgrounds[:, :, :3], torch.tensor(0.25), atol=1e-5)
    assert (backgrounds[:, :, 3, :, 8] == 0).all()


def test_an_untrained_matte_is_a_margin_around_the_keypoints(layered_config: CodecConfig) -> None:
    network = MatteNetwork(layered_config).eval()
    keypoints = Keypoints(torch.full((1, 20, 2), -0.5), torch.full((1, 20), 0.5))
    matte = network(keypoints, torch.rand(1, 3, 64, 64))
    assert matte.shape == (1, 1, 64, 64)
    assert float(matte[0, 0, 16, 16].detach()) > 0.9
    assert float(matte[0, 0, 60, 60].detach()) < 0.05


def test_a_speaker_moves_and_the_wall_behind_does_not(layered_config: CodecConfig) -> None:
    torch.manual_seed(0)
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), size=(64, 64), mode="nearest")
    source = Keypoints(torch.randn(1, 20, 2).clamp(-2, 2) * 0.1, torch.full((1, 20), 0.5))
    moved = Keypoints(source.locations_BKC + torch.tensor([0.25, 0.0]), source.strengths_BK)

    def carried(config: CodecConfig) -> torch.Tensor:
        generator = Generator(config).eval()
        with torch.no_grad():
            generated = generator(moved, generator.combine([generator.encode_reference(picture, source)]))
        assert isinstance(generated.warped_BCHW, torch.Tensor)
        return generated.warped_BCHW

    layered, single = carried(layered_config), carried(dataclasses.replace(layered_config, still_background=False))
    wall, speaker = slice(0, 2), (..., slice(28, 36), slice(36, 44))
    change, dragged = (layered - picture).abs().mean(1)[0, wall], (single - picture).abs().mean(1)[0, wall]
    assert float(change.mean()) < 0.2 * float(dragged.mean())
    shifted = (layered[speaker] - picture[..., 28:36, 28:36]).abs().mean()
    assert float(shifted) < 0.5 * float((layered[speaker] - picture[speaker]).abs().mean())


def test_still_background_needs_warped_pixels(tiny_config: CodecConfig) -> None:
    with pytest.raises(ConfigError, match="still_background is True; it needs warped_pixels"):
        dataclasses.replace(tiny_config, still_background=True, warped_pixels=False)
    with pytest.raises(ConfigError, match="sampling is 'nearest'"):
        dataclasses.replace(tiny_config, sampling="nearest")


def test_gradients_reach_the_matte(layered_config: CodecConfig) -> None:
    torch.manual_seed(0)
    generator = Generator(layered_config).train()
    images = torch.rand(2, 3, 64, 64)
    keypoints = generator.detect(images)
    features = [generator.encode_reference(images.flip(0), keypoints), generator.encode_reference(images, keypoints)]
    generator(keypoints, generator.combine(features)).image_BCHW.square().mean().backward()
    missing = [name for name, parameter in generator.named_parameters() if parameter.grad is None]
    assert missing == []
