from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from codec.config import CodecConfig
from codec.errors import ConfigError
from codec.model.generator import Generator
from codec.model.grid import cell_centres
from codec.model.keypoints import FACE_ANCHORS
from codec.model.query_key import Similarity
from codec.structs import Keypoints


def turned(points: torch.Tensor, degrees: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    angle = math.radians(degrees)
    matrix = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points @ matrix.T + torch.tensor(shift)


def test_a_similarity_is_found_again() -> None:
    source = torch.rand(3, 20, 2) - 0.5
    target = turned(source, 25, 1.3, (0.2, -0.1))
    found = Similarity.between(source, target, torch.rand(20) + 0.1)
    points = torch.rand(3, 7, 2)
    assert torch.allclose(found(source), target, atol=2e-3)
    assert torch.allclose(found(points), turned(points, 25, 1.3, (0.2, -0.1)), atol=5e-3)


def test_keypoints_in_one_place_only_shift() -> None:
    source, target = torch.zeros(1, 20, 2), torch.full((1, 20, 2), 0.3)
    found = Similarity.between(source, target, torch.ones(20))
    assert torch.allclose(found(torch.tensor([[[0.5, 0.5]]])), torch.tensor([[[0.8, 0.8]]]), atol=1e-5)


@pytest.fixture(scope="session")
def rigid_config(tiny_config: CodecConfig) -> CodecConfig:
    return dataclasses.replace(tiny_config, rigid_motion=True)


def test_hair_is_expected_where_the_head_has_turned_to(rigid_config: CodecConfig) -> None:
    generator = Generator(rigid_config).eval()
    driving = torch.tensor(FACE_ANCHORS)[None]
    keypoints = Keypoints(driving, torch.full((1, 20), 0.5))
    reference = turned(driving, 15, 0.9, (0.1, 0.05))
    with torch.no_grad():
        expected = generator.expect(generator.query_network(keypoints), keypoints, reference[:, None])
    centres = cell_centres(rigid_config.grid_size, rigid_config.grid_size, driving).reshape(-1, 2)
    wanted = turned(centres, 15, 0.9, (0.1, 0.05))
    is_head = (centres - torch.tensor([0.0, -0.2])).square().sum(-1) < 0.6**2
    error = (expected[0, 0] - wanted).norm(dim=-1)[is_head]
    assert float(error.max()) < 0.3 * float((wanted - centres).norm(dim=-1)[is_head].max())


def test_rigid_motion_needs_keypoint_motion(tiny_config: CodecConfig) -> None:
    with pytest.raises(ConfigError, match="rigid_motion is True; it needs keypoint_motion"):
        dataclasses.replace(tiny_config, rigid_motion=True, keypoint_motion=False)
