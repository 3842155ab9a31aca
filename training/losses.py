"""Losses on keypoints: equivariance under a thin-plate spline, and spread.

Sources: FOMM (Siarohin et al. 2019), section 3.1 and its supplement for the spline; face-vid2vid (Wang et al. 2021),
supplement A.2, for the keypoint prior. Shape legend: B batch, K keypoints, C = 2 coordinates, P control points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from codec.model.grid import cell_centres, gaussians, sample

AFFINE_DEVIATION = 0.05
CONTROL_DEVIATION = 0.005
CONTROL_POINTS = 5
FACE_VARIANCE = 0.005


@dataclass(frozen=True, slots=True)
class ThinPlateSpline:
    """A random smooth deformation of the plane, one for each sample.

    Attributes:
        affine_B23: affine part.
        control_PC: control points.
        weights_BP: displacement of the spline's control points, the same for x and y.
    """

    affine_B23: Tensor
    control_PC: Tensor
    weights_BP: Tensor

    @classmethod
    def random(cls, batch: int, generator: torch.Generator, like: Tensor) -> ThinPlateSpline:
        """Draw a deformation for each of ``batch`` samples."""
        noise_B23 = torch.randn(batch, 2, 3, generator=generator) * AFFINE_DEVIATION
        weights_BP = torch.randn(batch, CONTROL_POINTS**2, generator=generator) * CONTROL_DEVIATION
        line = torch.linspace(-1, 1, CONTROL_POINTS)
        control_PC = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
        return cls((torch.eye(2, 3) + noise_B23).to(like), control_PC.to(like), weights_BP.to(like))

    def __call__(self, points_BNC: Tensor) -> Tensor:
        """Deform points, (B, N, 2)."""
        moved_BNC = points_BNC @ self.affine_B23[:, :, :2].transpose(1, 2) + self.affine_B23[:, None, :, 2]
        squared_BNP = (points_BNC[:, :, None] - self.control_PC).square().sum(-1)
        radial_BNP = 0.5 * squared_BNP * torch.log(squared_BNP + 1e-12)
        return moved_BNC + (radial_BNP * self.weights_BP[:, None]).sum(-1, keepdim=True)

    def warp(self, image_BCHW: Tensor) -> Tensor:
        """Deform images: the result shows at p what the image shows at T(p)."""
        batch, _, height, width = image_BCHW.shape
        centres_BNC = cell_centres(height, width, image_BCHW).reshape(1, -1, 2).expand(batch, -1, -1)
        return sample(image_BCHW, self(centres_BNC).unflatten(1, (height, width)))


def equivariance_loss(locations_BKC: Tensor, deformed_BKC: Tensor, spline: ThinPlateSpline) -> Tensor:
    """L1 distance between keypoints and the back-deformed keypoints of the deformed image."""
    return (locations_BKC - spline(deformed_BKC)).abs().mean()


def face_weight(landmarks_BLC: Tensor, size: int, emphasis: float) -> Tensor:
    """Return weights of pixels, (B, 1, size, size): 1 far from all landmarks, 1 + ``emphasis`` at one."""
    near_BLHW = gaussians(landmarks_BLC, size, FACE_VARIANCE)
    return 1 + emphasis * near_BLHW.amax(1, keepdim=True)


def landmark_loss(locations_BKC: Tensor, landmarks_BLC: Tensor) -> Tensor:
    """L1 distance of the first L keypoints from landmarks; unknown (NaN) landmarks count nothing."""
    num_landmarks = landmarks_BLC.shape[1]
    known_BLC = torch.isfinite(landmarks_BLC)
    distance_BLC = (locations_BKC[:, :num_landmarks] - landmarks_BLC.nan_to_num()).abs()
    return (distance_BLC * known_BLC).sum() / known_BLC.sum().clamp(min=1)


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
