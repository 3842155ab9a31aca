from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from codec.bitstream.priors import Priors, generic_priors
from codec.structs import Keypoints


def _keypoints_of(values_K3: np.typing.NDArray[np.float64]) -> Keypoints:
    """Keypoints of (x, y) in [-1, 1] and strength in [0, 1], (K, 3)."""
    values_BK3 = torch.from_numpy(np.asarray(values_K3, dtype=np.float64))[None]
    return Keypoints(values_BK3[..., :2], values_BK3[..., 2])


def _walk(num_frames: int, seed: int = 0, step: float = 0.01, num_keypoints: int = 20) -> list[Keypoints]:
    """A head that sways, with keypoints that jitter."""
    rng = np.random.default_rng(seed)
    rest_K3 = np.column_stack([rng.uniform(-0.6, 0.6, (num_keypoints, 2)), rng.uniform(0.2, 0.8, num_keypoints)])
    sway_N3 = rng.normal(0, step, (num_frames, 3)).cumsum(axis=0) * [1, 1, 0.1]
    jitter_NK3 = rng.normal(0, step / 4, (num_frames, num_keypoints, 3))
    return [_keypoints_of(rest_K3 + sway + jitter) for sway, jitter in zip(sway_N3, jitter_NK3, strict=True)]


@pytest.fixture(scope="session")
def priors() -> Priors:
    return generic_priors(20)


@pytest.fixture(scope="session")
def keypoints_of() -> Callable[..., Keypoints]:
    return _keypoints_of


@pytest.fixture(scope="session")
def walk() -> Callable[..., list[Keypoints]]:
    return _walk
