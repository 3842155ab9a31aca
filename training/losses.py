"""Losses: adversarial (hinge, feature matching) and of keypoints (equivariance, landmarks, spread).

Sources: Lim and Ye, "Geometric GAN" (2017) for the hinge; Wang et al., "High-Resolution Image Synthesis and Semantic
Manipulation with Conditional GANs" (2018), section 3.2, for feature matching; FOMM (Siarohin et al. 2019), section 3.1;
face-vid2vid (Wang et al. 2021), supplement A.2, for the keypoint prior.

Shape legend: B batch, K keypoints, C = 2 coordinates, L landmarks, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from codec.model.grid import gaussians
from training.discriminator import Judgement
from training.spline import ThinPlateSpline

FACE_VARIANCE = 0.005
EDGE = 0.98
"""Landmarks outside of the picture are taught at this distance from its middle: a detector cannot point outside."""


def discriminator_loss(real: list[Judgement], made: list[Judgement]) -> Tensor:
    """Hinge: real patches should score over 1, made ones under -1; mean over patches, then over scales."""
    scales = [
        torch.relu(1 - r.scores_BHW.float()).mean() + torch.relu(1 + m.scores_BHW.float()).mean()
        for r, m in zip(real, made, strict=True)
    ]
    return torch.stack(scales).mean()


def generator_loss(made: list[Judgement]) -> Tensor:
    """Hinge's other side: made patches should score high."""
    return torch.stack([-judgement.scores_BHW.float().mean() for judgement in made]).mean()


def feature_matching_loss(real: list[Judgement], made: list[Judgement]) -> Tensor:
    """L1 distance of the discriminator's features of real and made pictures, mean over layers and scales."""
    distances = [
        (wanted.detach() - found).float().abs().mean()
        for r, m in zip(real, made, strict=True)
        for wanted, found in zip(r.features, m.features, strict=True)
    ]
    return torch.stack(distances).mean()


def equivariance_loss(locations_BKC: Tensor, deformed_BKC: Tensor, spline: ThinPlateSpline) -> Tensor:
    """L1 distance between keypoints and the back-deformed keypoints of the deformed image."""
    return (locations_BKC - spline(deformed_BKC)).abs().mean()


def face_weight(landmarks_BLC: Tensor, size: int, emphasis: float) -> Tensor:
    """Return weights of pixels, (B, 1, size, size): 1 far from all landmarks, 1 + ``emphasis`` at one."""
    near_BLHW = gaussians(landmarks_BLC, size, FACE_VARIANCE)
    return 1 + emphasis * near_BLHW.amax(1, keepdim=True)


def landmark_loss(locations_BKC: Tensor, landmarks_BLC: Tensor, num_known: float) -> Tensor:
    """L1 distance of the first L keypoints from landmarks; unknown (NaN) landmarks count nothing.

    Args:
        locations_BKC: keypoints.
        landmarks_BLC: what the first L of them are taught.
        num_known: known coordinates that the mean is taken over; with several processes, a process's share of all.
    """
    num_landmarks = landmarks_BLC.shape[1]
    known_BLC = torch.isfinite(landmarks_BLC)
    wanted_BLC = landmarks_BLC.nan_to_num().clamp(-EDGE, EDGE)
    distance_BLC = (locations_BKC[:, :num_landmarks] - wanted_BLC).abs()
    return (distance_BLC * known_BLC).sum() / max(num_known, 1.0)


def spread_loss(locations_BKC: Tensor, distance: float, num_taught: int = 0) -> Tensor:
    """Hinge on squared distances of keypoints under ``distance``, averaged over ordered pairs.

    Args:
        locations_BKC: keypoints.
        distance: squared distance under which two keypoints repel each other.
        num_taught: the first ones, which are taught where to be, do not repel each other.
    """
    squared_BKK = (locations_BKC[:, :, None] - locations_BKC[:, None]).square().sum(-1)
    num_keypoints = locations_BKC.shape[1]
    repelled_KK = 1 - torch.eye(num_keypoints).to(locations_BKC)
    repelled_KK[:num_taught, :num_taught] = 0
    hinge_BKK = torch.relu(distance - squared_BKK) * repelled_KK
    return hinge_BKK.sum((1, 2)).mean() / (num_keypoints * max(num_keypoints - 1, 1))
