from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from codec import Model
from codec.config import CodecConfig, paper_256, preset
from codec.model.generator import Generator
from codec.model.grid import cell_centres, resize, sample
from codec.structs import Keypoints


def picture(size: int, batch: int = 1, seed: int = 0) -> Tensor:
    noise = torch.rand(batch, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)


def small_paper() -> CodecConfig:
    return dataclasses.replace(
        paper_256(), name="small-paper", image_size=64, detector_size=16, detector_width=8, detector_max_width=16,
        detector_blocks=2, unet_size=16, unet_width=8, unet_max_width=16, unet_blocks=2, key_dim=16, value_dim=16,
        num_extra_keys=4, decoder_width=16, decoder_blocks=2,
    )  # fmt: skip


@pytest.mark.parametrize("num_references", [1, 3])
@pytest.mark.parametrize("which", ["tiny", "paper"])
def test_shapes(tiny_config: CodecConfig, which: str, num_references: int) -> None:
    config = tiny_config if which == "tiny" else small_paper()
    generator = Generator(config).eval()
    images = picture(64, batch=2)
    keypoints = generator.detect(images)
    assert keypoints.locations_BKC.shape == (2, 20, 2)
    assert keypoints.strengths_BK.shape == (2, 20)
    assert keypoints.locations_BKC.abs().max() <= 1
    assert 0 <= keypoints.strengths_BK.min() <= keypoints.strengths_BK.max() <= 1
    memory = generator.combine([generator.encode_reference(images, keypoints)] * num_references)
    assert generator(keypoints, memory).image_BCHW.shape == (2, 3, 64, 64)


def test_an_untrained_compact_network_repeats_its_reference(tiny_config: CodecConfig) -> None:
    generator = Generator(tiny_config).eval()
    image = picture(64)
    keypoints = generator.detect(image)
    generated = generator(keypoints, generator.combine([generator.encode_reference(image, keypoints)]))
    assert generated.warped_BCHW is not None
    difference = (generated.warped_BCHW[:, :3] - image).abs()
    assert difference.mean() < 0.005
    assert difference.max() < 0.1  # under a half-transparent matte the background is filled in
    assert (generated.image_BCHW - image).abs().mean() < 0.05


def test_the_reference_with_the_driving_pose_is_preferred(tiny_config: CodecConfig) -> None:
    generator = Generator(tiny_config).eval()
    images = picture(64, batch=2)
    keypoints = generator.detect(images)
    turned = Keypoints(keypoints.locations_BKC[1:] * 1.3, keypoints.strengths_BK[1:])
    references = [generator.encode_reference(images[:1], keypoints[:1]), generator.encode_reference(images[1:], turned)]
    shares = generator(keypoints[:1], generator.combine(references)).shares_BRHW
    assert shares is not None
    assert shares[0, 0].mean() > 3 * shares[0, 1].mean()


def test_pixels_are_mixed_as_before_when_extra_keys_take_nearly_all(tiny_config: CodecConfig) -> None:
    torch.manual_seed(0)
    generator = Generator(tiny_config).eval()
    images = picture(64, batch=2)
    keypoints = generator.detect(images)
    turned = Keypoints(keypoints.locations_BKC[1:] * 1.2, keypoints.strengths_BK[1:])
    references = [generator.encode_reference(images[:1], keypoints[:1]), generator.encode_reference(images[1:], turned)]
    with torch.no_grad():
        before = generator(keypoints[:1], generator.combine(references))
        generator.attention.extra_offset.add_(16)
        after = generator(keypoints[:1], generator.combine(references))
    assert before.shares_BRHW is not None
    assert after.shares_BRHW is not None
    assert before.warped_BCHW is not None
    assert after.warped_BCHW is not None
    assert float(after.shares_BRHW.sum(1).max()) < 0.05 < float(before.shares_BRHW.sum(1).min())
    assert torch.allclose(before.warped_BCHW, after.warped_BCHW, atol=0.02)


def test_a_shift_of_the_whole_face_does_not_change_which_reference_is_preferred(tiny_model: Model) -> None:
    generator = tiny_model.generator
    keypoints = generator.detect(picture(64, batch=1))
    shifted = keypoints.locations_BKC + 0.2
    other = keypoints.locations_BKC * 1.3
    locations = torch.stack((shifted, other), dim=1)
    alike = generator.alikeness(keypoints, locations)
    assert (alike[..., 0] == 0).all()
    assert (alike[..., 1] < 0).all()


def test_a_preferred_reference_gives_all_but_the_face(tiny_model: Model) -> None:
    generator = tiny_model.generator
    images = picture(64, batch=2)
    keypoints = generator.detect(images)
    middle_4C = torch.tensor([[-0.125, -0.125], [0.125, -0.125], [-0.125, 0.125], [0.125, 0.125]])
    face = Keypoints(middle_4C.repeat(5, 1).expand(2, -1, -1), keypoints.strengths_BK)
    references = [generator.encode_reference(images[i : i + 1], face[i : i + 1]) for i in range(2)]
    with torch.no_grad():
        memory, alone = generator.combine(references), generator.combine(references[1:])
        plain, named = (generator(face[:1], each) for each in (memory, memory.preferring(1, alone)))
    assert plain.shares_BRHW is not None
    assert named.shares_BRHW is not None
    share = named.shares_BRHW / named.shares_BRHW.sum(1, keepdim=True)
    assert float(share[0, 1, 0].min()) > 0.99  # the upper border
    cells = (..., slice(3, 5), slice(3, 5))
    assert torch.allclose(plain.shares_BRHW[cells], named.shares_BRHW[cells], atol=1e-3)
    assert alone.background_BRCHW is not None
    background_BRCHW = memory.preferring(1, alone).expand(3).background_BRCHW
    assert background_BRCHW is not None
    assert background_BRCHW.shape[:2] == (3, 2)
    assert torch.equal(background_BRCHW[2, 0], alone.background_BRCHW[0, 0])


@pytest.mark.parametrize("which", ["tiny", "paper"])
def test_gradients_reach_every_parameter(tiny_config: CodecConfig, which: str) -> None:
    torch.manual_seed(0)
    generator = Generator(tiny_config if which == "tiny" else small_paper()).train()
    images = picture(64, batch=2)
    keypoints = generator.detect(images)
    references = [generator.encode_reference(images.flip(0), keypoints), generator.encode_reference(images, keypoints)]
    generator(keypoints, generator.combine(references)).image_BCHW.square().mean().backward()
    missing = [name for name, parameter in generator.named_parameters() if parameter.grad is None]
    assert missing == []


def test_overfits_one_pair(tiny_config: CodecConfig) -> None:
    torch.manual_seed(0)
    generator = Generator(tiny_config).train()
    source, target = picture(64, seed=1), picture(64, seed=2)
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    errors = []
    for _ in range(60):
        memory = generator.combine([generator.encode_reference(source, generator.detect(source))])
        error = (generator(generator.detect(target), memory).image_BCHW - target).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize(("residual", "extra"), [(False, 0), (True, 0), (False, 4)])
def test_the_ablation_switches_remove_their_parts(residual: bool, extra: int) -> None:
    config = dataclasses.replace(small_paper(), residual_connection=residual, num_extra_keys=extra)
    generator = Generator(config).eval()
    names = {name for name, _ in generator.named_parameters()}
    assert any(name.startswith("attention.residual") for name in names) == residual
    assert any(name.startswith("attention.extra") for name in names) == bool(extra)
    image = picture(64)
    keypoints = generator.detect(image)
    memory = generator.combine([generator.encode_reference(image, keypoints)])
    assert memory.keys_BMD.shape[1] == config.grid_size**2 + extra
    assert generator(keypoints, memory).image_BCHW.shape == image.shape


def test_hidden_keys_are_not_read(tiny_model: Model) -> None:
    generator = tiny_model.generator
    images = picture(64, batch=2)
    keypoints = generator.detect(images)
    features = [generator.encode_reference(images[i : i + 1], keypoints[:1]) for i in range(2)]
    memory = generator.combine(features)
    cells = tiny_model.config.grid_size**2
    dropped = torch.zeros(memory.keys_BMD.shape[:2], dtype=torch.bool)
    dropped[:, cells : 2 * cells] = True
    shares = generator(keypoints[:1], memory, dropped).shares_BRHW
    assert shares is not None
    assert float(shares[:, 1].abs().max()) == 0


def test_no_reference_is_refused(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        tiny_model.generator.combine([])


def test_identity_warp_is_the_identity() -> None:
    image = picture(32)
    assert torch.allclose(sample(image, cell_centres(32, 32, image)[None]), image, atol=1e-5)


@pytest.mark.parametrize("size", [16, 24, 32, 64])
def test_resize_keeps_a_gradient_in_place(size: int) -> None:
    ramp = cell_centres(32, 32, torch.zeros(1))[..., 0][None, None]
    wanted = cell_centres(size, size, torch.zeros(1))[..., 0]
    inside = slice(size // 8, -size // 8)
    assert torch.allclose(resize(ramp, size)[0, 0][:, inside], wanted[:, inside], atol=0.02)


@pytest.mark.parametrize("name", ["compact-256", "paper-256"])
def test_presets_build(name: str) -> None:
    generator = Generator(preset(name))
    assert sum(parameter.numel() for parameter in generator.parameters()) > 1_000_000


def test_compact_512_shares_all_but_value_encoder_and_decoder_with_compact_256() -> None:
    small, large = Generator(preset("compact-256")), Generator(preset("compact-512"))
    shapes = {name: tensor.shape for name, tensor in small.state_dict().items()}
    other = {name for name, tensor in large.state_dict().items() if shapes.get(name) != tensor.shape}
    assert {name.split(".")[0] for name in other} == {"decoder"}
    assert small.config.grid_size == large.config.grid_size
    picture_512 = picture(512)
    keypoints = large.eval().detect(picture_512)
    with torch.no_grad():
        generated = large(keypoints, large.combine([large.encode_reference(picture_512, keypoints)]))
    assert generated.image_BCHW.shape == (1, 3, 512, 512)
