"""Random thin-plate splines: smooth deformations of the plane, for the equivariance loss (FOMM, its supplement).

Shape legend: B batch, N points, C = 2 coordinates, P control points, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from codec.model.grid import cell_centres, sample

AFFINE_DEVIATION = 0.05
CONTROL_DEVIATION = 0.005
CONTROL_POINTS = 5


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

    def share(self, rank: int, num_processes: int) -> ThinPlateSpline:
        """Return the deformations of one process's samples."""
        each = len(self.affine_B23) // num_processes
        mine = slice(rank * each, (rank + 1) * each)
        return ThinPlateSpline(self.affine_B23[mine], self.control_PC, self.weights_BP[mine])

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
