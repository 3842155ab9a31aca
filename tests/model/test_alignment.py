from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codec import Encoder, Model, load_model, random_model
from codec.config import CodecConfig
from codec.errors import ConfigError
from codec.model.alignment import (
    HOLD,
    LOYALTY,
    NOISE,
    USES,
    Aligner,
    by_cell,
    chosen,
    differences,
    exposed,
    holding,
)
from codec.model.generator import Found, Generator, ReferenceFeatures, ReferenceMemory
from codec.model.grid import cell_centres, sample
from codec.model.query_key import Query
from codec.structs import Keypoints

FACE = Path(__file__).parents[1] / "fixtures" / "face.jpg"
PIXEL = 2 / 256


@pytest.fixture(scope="module")
def embedded() -> Model:
    return load_model(None, "cpu")


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    picture = Image.open(FACE).convert("RGB")
    side = min(picture.size)
    square = picture.crop((0, 0, side, side)).resize((256, 256), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float() / 255


def moved(image: torch.Tensor, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    grid = cell_centres(256, 256, image) * scale + torch.tensor(shift)
    return sample(image, grid[None], "bicubic").clamp(0, 1)


def reference_of(model: Model, image: torch.Tensor) -> ReferenceFeatures:
    generator = model.generator
    with torch.no_grad():
        return generator.encode_reference(image, generator.detect(image))


def error(model: Model, keypoints: Keypoints, reference: ReferenceFeatures, image: torch.Tensor) -> float:
    with torch.no_grad():
        memory = model.generator.combine([reference])
        return float((model.generator(keypoints, memory).image_BCHW - image).square().mean())


@pytest.fixture(scope="module")
def scene(embedded: Model, face: torch.Tensor) -> tuple[ReferenceFeatures, torch.Tensor, Keypoints]:
    """A reference, a picture in which the speaker has come closer, and its keypoints, found two pixels off."""
    reference, image = reference_of(embedded, face), moved(face, 0.95, (0.03, -0.02))
    with torch.no_grad():
        found = embedded.generator.detect(image)
    noise = torch.randn(found.locations_BKC.shape, generator=torch.Generator().manual_seed(1)) * 2 * PIXEL
    return reference, image, Keypoints(found.locations_BKC + noise, found.strengths_BK)


def test_aligned_keypoints_rebuild_the_picture_better(
    embedded: Model, scene: tuple[ReferenceFeatures, torch.Tensor, Keypoints]
) -> None:
    reference, image, keypoints = scene
    aligned = Aligner(embedded.generator, [reference]).align(keypoints, image).keypoints
    assert error(embedded, aligned, reference, image) < 0.6 * error(embedded, keypoints, reference, image)
    assert float((aligned.locations_BKC - keypoints.locations_BKC).norm(dim=-1).max()) < 12 * PIXEL
    assert torch.equal(aligned.strengths_BK, keypoints.strengths_BK)


def test_a_camera_that_changes_its_exposure_moves_little(
    embedded: Model, scene: tuple[ReferenceFeatures, torch.Tensor, Keypoints]
) -> None:
    reference, image, keypoints = scene
    aligner = Aligner(embedded.generator, [reference])
    aligned = aligner.align(keypoints, image).keypoints
    darker = aligner.align(keypoints, 0.75 * image + 0.05).keypoints
    apart = float((darker.locations_BKC - aligned.locations_BKC).abs().mean())
    assert apart < 0.3 * float((aligned.locations_BKC - keypoints.locations_BKC).abs().mean())


def test_a_picture_that_says_nothing_moves_nothing(
    embedded: Model, scene: tuple[ReferenceFeatures, torch.Tensor, Keypoints]
) -> None:
    _, _, keypoints = scene
    flat = torch.full((1, 3, 256, 256), 0.5)
    aligned = Aligner(embedded.generator, [reference_of(embedded, flat)]).align(keypoints, flat).keypoints
    assert float((aligned.locations_BKC - keypoints.locations_BKC).abs().max()) < 0.05 * PIXEL


def test_the_reference_that_comes_nearest_is_chosen_and_aligned_to(embedded: Model, face: torch.Tensor) -> None:
    generator = embedded.generator
    near, far = moved(face, 0.97, (0.0, 0.01)), moved(face, 0.7, (0.2, 0.15))
    features = [reference_of(embedded, image) for image in (far, face, face.flip(3))]
    with torch.no_grad():
        found = generator.detect(near)
    aligned = Aligner(generator, features).align(found, near)
    assert aligned.reference == 1
    alone = Aligner(generator, features[1:2]).align(found, near)
    assert alone.reference == 0
    assert torch.allclose(aligned.keypoints.locations_BKC, alone.keypoints.locations_BKC, atol=1e-5)
    assert error(embedded, aligned.keypoints, features[1], near) < error(embedded, found, features[1], near)


def test_a_reference_in_use_is_left_for_one_that_is_clearly_nearer() -> None:
    little, much = 1 - LOYALTY / 2, 1 - 2 * LOYALTY
    assert [chosen([1.0, little], used) for used in (None, 0, 1)] == [1, 0, 1]
    assert [chosen([1.0, much], used) for used in (None, 0, 1)] == [1, 1, 1]


def test_keypoints_that_are_nonsense_give_way_to_the_reference_s_own(embedded: Model, face: torch.Tensor) -> None:
    reference, picture = reference_of(embedded, face), moved(face, 1.0, (0.02, 0.0))
    with torch.no_grad():
        found = embedded.generator.detect(picture)
    aligner = Aligner(embedded.generator, [reference_of(embedded, moved(face, 0.7, (0.2, 0.15))), reference])
    sound = aligner.align(found, picture)
    assert (sound.reference, sound.is_own_pose) == (1, False)
    scattered = Keypoints(found.locations_BKC.flip(1) * 1.5, found.strengths_BK)
    assert error(embedded, scattered, reference, picture) > 0.02
    aligned = aligner.align(scattered, picture, sound)
    assert (aligned.reference, aligned.is_own_pose) == (1, True)
    assert error(embedded, aligned.keypoints, reference, picture) < 0.1 * error(embedded, scattered, reference, picture)
    assert not aligner.align(found, picture, aligned).is_own_pose


def test_without_time_the_reference_that_is_nearest_is_named(embedded: Model, face: torch.Tensor) -> None:
    pictures = [moved(face, 0.7, (0.2, 0.15)), face]
    aligner = Aligner(embedded.generator, [reference_of(embedded, picture) for picture in pictures])
    assert [aligner.nearest(picture) for picture in pictures] == [0, 1]
    assert [aligner.nearest(face, used) for used in (0, 1)] == [1, 1]
    middle = (pictures[0] + pictures[1]) / 2
    assert [aligner.nearest(middle, used) for used in (0, 1)] == [0, 1]
    encoder = Encoder(embedded)
    rgbs = [(picture[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8) for picture in pictures]
    assert encoder.choose(rgbs[1]) == 0
    encoder.set_references(rgbs, [11, 22])
    assert [encoder.choose(rgb) for rgb in rgbs] == [11, 22]


def test_keypoints_that_keep_still_are_held_and_others_are_not() -> None:
    now = torch.zeros(1, 2, 2)
    before = torch.tensor([[[NOISE / 10, 0.0], [20 * NOISE, 0.0]]])
    stiffness, goal = holding(now, before)
    assert torch.allclose(goal, before.flatten(1))
    assert float(stiffness[0, 0]) > 0.9 * HOLD
    assert float(stiffness[0, 2]) < 0.01 * HOLD


def test_a_face_at_rest_is_steadier_than_its_detections(embedded: Model, face: torch.Tensor) -> None:
    aligner = Aligner(embedded.generator, [reference_of(embedded, face)])
    with torch.no_grad():
        found = embedded.generator.detect(face)
    draws, before, detected, aligned = torch.Generator().manual_seed(2), None, [], []
    for _ in range(6):
        noise = torch.randn(found.locations_BKC.shape, generator=draws) * 0.5 * PIXEL
        noisy = Keypoints(found.locations_BKC + noise, found.strengths_BK)
        before = aligner.align(noisy, face, before)
        detected.append(noisy.locations_BKC)
        aligned.append(before.keypoints.locations_BKC)
    jitter = [float(torch.stack(rows).diff(dim=0).square().mean()) for rows in (aligned, detected)]
    assert jitter[0] < 0.5 * jitter[1]


def test_the_network_runs_for_every_third_picture_while_keypoints_move_little(
    embedded: Model, scene: tuple[ReferenceFeatures, torch.Tensor, Keypoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, image, keypoints = scene
    runs: list[Keypoints] = []
    find = embedded.generator.find

    def noted(found: Keypoints, kept: ReferenceMemory, query: Query) -> Found:
        runs.append(found)
        return find(found, kept, query=query)

    monkeypatch.setattr(embedded.generator, "find", noted)
    aligner = Aligner(embedded.generator, [reference])
    aligned = [aligner.align(keypoints, image).keypoints for _ in range(2 * USES)]
    assert len(runs) == 2
    assert all(torch.equal(each.locations_BKC, aligned[0].locations_BKC) for each in aligned)
    near = Keypoints(keypoints.locations_BKC + 2 * PIXEL, keypoints.strengths_BK)
    aligner.align(near, image)
    by_tangent = aligner.align(keypoints, image).keypoints
    assert len(runs) == 3
    assert torch.allclose(by_tangent.locations_BKC, aligned[0].locations_BKC, atol=1.5 * PIXEL)
    far = keypoints.locations_BKC.clone()
    far[:, 19] -= 7 * PIXEL
    aligner.align(Keypoints(far, keypoints.strengths_BK), image)
    assert len(runs) == 4


def test_the_paper_s_network_carries_no_pixels(tiny_config: CodecConfig) -> None:
    plain = dataclasses.replace(
        tiny_config, warped_pixels=False, still_background=False, keypoint_motion=False, rigid_motion=False
    )
    generator = Generator(plain).eval()
    images, keypoints = torch.rand(1, 3, 64, 64), Keypoints(torch.rand(1, 20, 2), torch.rand(1, 20))
    with torch.no_grad():
        reference = generator.encode_reference(images, keypoints)
    with pytest.raises(ValueError, match="nothing to align"):
        Aligner(generator, [reference])
    encoder = Encoder(random_model(plain))
    encoder.set_references([np.zeros((64, 64, 3), np.uint8)])
    assert not encoder.aligns


def test_no_references_nothing_aligned(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="there are none"):
        Aligner(tiny_model.generator, [])
    encoder, rgb = Encoder(tiny_model), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    keypoints = encoder.detect(rgb)
    assert encoder.align(keypoints, rgb) == (keypoints, 0)
    encoder.set_references([rgb], [7])
    assert encoder.aligns
    aligned, reference = encoder.align(keypoints, rgb[:, ::-1].copy())
    assert reference == 7
    assert not torch.equal(aligned.locations_BKC, keypoints.locations_BKC)
    encoder.set_references([])
    assert not encoder.aligns


def test_a_reference_of_another_size_is_told(tiny_model: Model) -> None:
    with pytest.raises(ConfigError, match=r"reference is \(32, 32, 3\); the model takes \(64, 64, 3\)"):
        Encoder(tiny_model).set_references([np.zeros((32, 32, 3), np.uint8)])


def test_pixels_are_gathered_by_cell() -> None:
    maps = torch.arange(2 * 3 * 8 * 8).view(1, 2, 3, 8, 8)
    cells = by_cell(maps, 2)
    assert cells.shape == (1, 4, 2, 48)
    assert torch.equal(cells[0, 1, 0].view(3, 4, 4), maps[0, 0, :, :4, 4:])
    assert torch.equal(cells[0, 2, 1].view(3, 4, 4), maps[0, 1, :, 4:, :4])


def test_differences_are_a_unit_of_the_coordinates() -> None:
    ramp = cell_centres(16, 16, torch.zeros(1)).permute(2, 0, 1)[None]
    across, down = differences(ramp)
    assert torch.allclose(across[:, 0, 2:-2, 2:-2], torch.ones(12, 12))
    assert torch.allclose(down[:, 1, 2:-2, 2:-2], torch.ones(12, 12))
    assert float(across[:, 1].abs().max()) < 1e-6


def test_exposure_is_taken_off() -> None:
    made = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    left = (exposed(made, made * 0.8 + 0.1) - made).abs().mean()
    assert float(left) < 0.4 * float((made * 0.8 + 0.1 - made).abs().mean())
